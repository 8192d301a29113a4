"""How quickly the package and its commands start, and what they import for it."""

import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from conftest import ROOT

from zfnet_jax.commands import COMMANDS

NAMES = [name for group in COMMANDS.values() for name in group]

ONLY_WHERE_USED = {
    "grain",
    "onnx",
    "pyarrow",
    "sklearn",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
}
"""Packages that take time to import and that no command's help needs."""

_HELP_OF_ALL = """
import contextlib, io, sys
from zfnet_jax.__main__ import main

for name in sys.argv[1:]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([name, "--help"])
print(*sorted({module.partition(".")[0] for module in sys.modules}))
"""


def _python(arguments: Sequence[str]) -> str:
    """What Python prints, started with these arguments in the folder of the package."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _seconds(arguments: Sequence[str]) -> float:
    """The wall time of a process; the least of several is that of the quietest moment."""
    start = time.perf_counter()
    _python(arguments)
    return time.perf_counter() - start


@pytest.fixture(scope="module")
def jax_seconds() -> float:
    """How long the import of JAX takes here and now; on a quiet machine about half a second."""
    return min(_seconds(["-c", "import jax"]) for _ in range(3))


def test_the_package_and_the_list_of_commands_import_nothing_heavy():
    code = "import sys, zfnet_jax.__main__ as m; m.main(['--help']); print('|', *sys.modules)"
    modules = _python(["-c", code]).rpartition("|")[2].split()
    assert {"jax", "numpy", "tyro", "PIL"}.isdisjoint(modules)


def test_the_help_of_commands_imports_no_package_before_it_is_used():
    modules = _python(["-c", _HELP_OF_ALL, *NAMES]).split()
    assert ONLY_WHERE_USED & set(modules) == set()


@pytest.mark.slow
def test_the_package_and_the_list_of_commands_take_less_than_a_second(jax_seconds: float):
    for arguments in (["-c", "import zfnet_jax"], ["-m", "zfnet_jax", "--help"]):
        seconds = min(_seconds(arguments) for _ in range(3))
        print(f"python {' '.join(arguments)}: {seconds:.2f} s; import jax: {jax_seconds:.2f} s")
        assert seconds < max(1.0, jax_seconds)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_takes_less_than_two_seconds(name: str, jax_seconds: float):
    """On a loaded machine, where the import of JAX alone takes long, four times that."""
    seconds = min(_seconds(["-m", "zfnet_jax", name, "--help"]) for _ in range(3))
    print(f"zfnet-jax {name} --help: {seconds:.2f} s; import jax: {jax_seconds:.2f} s")
    assert seconds < max(2.0, 4 * jax_seconds)
