"""The pages of the documentation, and the blocks that a reader pastes."""

import re
import shlex
from pathlib import Path

from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language on a page, in order."""
    return [text for name, text in _BLOCK.findall(page.read_text("utf-8")) if name == language]


def commands(page: Path) -> list[list[str]]:
    """The words of each `zfnet-jax` command on a page: in blocks, tables and sentences."""
    text = page.read_text("utf-8")
    lines = "\n".join(blocks(page, "console")).replace("\\\n", " ").splitlines()
    outside = _BLOCK.sub("", text)
    lines += [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", outside)]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts if part.startswith("zfnet-jax ")]
    return [called[1:] for called in words]
