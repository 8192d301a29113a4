"""Help is quick: it imports nothing that training or looking alone needs."""

import subprocess
import sys

import pytest

HEAVY = ("jax", "flax", "orbax", "grain", "tensorboardX", "matplotlib", "tensorflow_datasets")

_IMPORTED = f"""
import sys
from zfnet_jax.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_imports_nothing_heavy(command: str):
    """In a process of its own, since this one has imported everything."""
    words = [sys.executable, "-c", _IMPORTED, command, "--help"]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"
    assert f"usage: zfnet-jax {command} [-h]" in result.stdout
    assert f"Example: zfnet-jax {command} " in result.stdout
    assert "{None}" not in result.stdout
