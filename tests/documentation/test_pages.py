"""What the documentation tells a reader to type: commands that exist, Python that runs."""

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from pages import PAGES, blocks, commands
from PIL import Image
from skimage import data

from zfnet_jax.commands import COMMANDS, command_line, train

NAMES = {name for group in COMMANDS.values() for name in group}
COMMAND_LINES = sorted({tuple(words) for page in PAGES for words in commands(page)})


def _parse(name: str, options: list[str]) -> None:
    """Parses a command's options and does nothing else; ValueError where they are wrong."""
    main = importlib.import_module(f"zfnet_jax.commands.{name.replace('-', '_')}").main

    @functools.wraps(main)
    def bind(*_: object, **__: object) -> None:
        """Takes the options and drops them."""

    command_line.parse(bind, options)


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_a_command_line_of_the_documentation_is_understood(words: tuple[str, ...]):
    name, *options = words
    if name.startswith("-"):
        assert name in ("--help", "--version")
    elif not options or "--help" in options:
        assert name in {*NAMES, "COMMAND"}
    elif name == "train":
        train._parse(options)
    else:
        _parse(name, options)


def test_every_command_is_in_the_documentation():
    assert {words[0] for words in COMMAND_LINES} >= NAMES


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path):
    Image.fromarray(data.chelsea()).save(tmp_path / "cat.jpg")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    code = "\n\n".join(blocks(page, "python"))
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "projection.png").is_file()
