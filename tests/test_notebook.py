"""The notebooks run from their first cell to their last, on the CPU, with small parameters."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "notebooks"))
import store_outputs

NAMES = ["train", "look"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a notebook with its own Python's programs; its outputs."""
    # A kernel that is started under pytest does not show what its subprocesses print.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def outputs(name: str, **parameters: object) -> list[Any]:
        notebook = store_outputs.run(name, parameters, tmp_path)
        return [output for cell in notebook.cells for output in cell.get("outputs", ())]

    return outputs


def _count(outputs: list[Any], kind: str) -> int:
    return sum(kind in output.get("data", {}) for output in outputs)


def _text(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


# What the kernel's own libraries warn of while they start and stop is not this package's.
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_train_shows_curves_filters_and_projections(run):
    outputs = run("train", OPTIONS="--train.max-steps 60")
    assert _count(outputs, "image/png") == 3
    assert "look inside it" in _text(outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_look_shows_every_way_of_looking(run, tmp_path: Path):
    outputs = run("look", LAYERS="conv5", STRIDE=33)
    assert _count(outputs, "image/png") == 3
    assert _count(outputs, "text/html") == 1
    assert _count(outputs, "application/vnd.jupyter.widget-view+json") == 1
    assert "5 ReLUs" in _text(outputs)
    assert "(1, 32, 26, 26) -> (1, 3, 128, 128)" in _text(outputs)
    assert (tmp_path / "looks" / "atlas" / "index.html").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_the_cells_of_a_student_have_no_switches_for_tests(name: str):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert not any("environ" in cell.source for cell in notebook.cells)
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", ())]
    assert sorted(tags) == ["install", "parameters"]
