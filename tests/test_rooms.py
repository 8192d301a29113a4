"""The rooms of the package: what each may import, and how long an import takes."""

import ast
import itertools
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "zfnet_jax"

ROOMS = (
    "commands",
    "experiments",
    "report",
    "analysis",
    "features",
    "training",
    "networks",
    "config",
    "transform",
    "zfnet",
    "data",
    "core",
)
"""From the top floor down: a room imports itself and those after it, never those before."""

APART = {("transform", "data"), ("zfnet", "data"), ("data", "zfnet"), ("data", "transform")}
"""Rooms that do not know each other, though one stands above the other."""


def _room(module: str) -> str | None:
    """The room of a module of the package, such as "zfnet_jax.data.decode"; None of the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def _imported(path: Path) -> set[str]:
    """The package's modules that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import hides where it leads"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == "zfnet_jax"}


@cache
def _arrows() -> list[tuple[str, str, str]]:
    """All imports between rooms: from, to, and the file."""
    arrows = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        room = inside[0]
        if room in ("__init__", "__main__", "train", "evaluate"):
            continue
        for module in _imported(path):
            target = _room(module)
            if target is not None and target != room:
                arrows.append((room, target, f"{'/'.join(inside)}.py imports {module}"))
    return arrows


def test_each_file_is_in_a_room():
    doors = {"__init__", "__main__", "train", "evaluate"}
    files = (path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py"))
    assert set(files) - doors == set(ROOMS)


@pytest.mark.parametrize(("above", "below"), list(itertools.combinations(ROOMS, 2)))
def test_arrows_go_one_way(above: str, below: str):
    upwards = [text for room, target, text in _arrows() if (room, target) == (below, above)]
    assert upwards == []


@pytest.mark.parametrize(("room", "other"), sorted(APART))
def test_rooms_that_do_not_know_each_other(room: str, other: str):
    assert [text for *arrow, text in _arrows() if arrow == [room, other]] == []


def test_nothing_below_the_commands_parses_a_command_line():
    """Only configurations, whose values are options, and the commands know tyro."""
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if "import tyro" in path.read_text("utf-8") or "from tyro" in path.read_text("utf-8")
    }
    assert users == {"commands", "config.py"}
