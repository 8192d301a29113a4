"""The notebooks run from their first cell to their last, on the CPU, with a small setting."""

from typing import Any

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = ROOT / "notebooks"
NAMES = ["train", "look"]


def _outputs(name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the cells of a notebook give when it is run."""
    # A kernel that is started under pytest does not show what its subprocesses print.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": NOTEBOOKS}}).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def _shown(outputs: list[Any], kind: str) -> int:
    return sum(kind in output.get("data", {}) for output in outputs)


def _text(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


# What the kernel's own libraries warn of while they start and stop is not this package's.
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_train_shows_curves_filters_and_projections(tmp_path, monkeypatch):
    monkeypatch.setenv("ZFNET_JAX_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("ZFNET_JAX_OPTIONS", "--train.max-steps 60")
    outputs = _outputs("train", monkeypatch)
    assert _shown(outputs, "image/png") == 3
    assert "look inside it: zfnet-jax deconv" in _text(outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_look_shows_every_way_of_looking(tmp_path, monkeypatch):
    monkeypatch.setenv("ZFNET_JAX_OUT", str(tmp_path))
    monkeypatch.setenv("ZFNET_JAX_LAYERS", "conv5")
    monkeypatch.setenv("ZFNET_JAX_STRIDE", "33")
    outputs = _outputs("look", monkeypatch)
    assert _shown(outputs, "image/png") == 3
    assert _shown(outputs, "text/html") == 1
    assert "5 ReLUs" in _text(outputs)
    assert "(1, 32, 26, 26) -> (1, 3, 128, 128)" in _text(outputs)
    assert (tmp_path / "atlas" / "index.html").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_is_stored_without_outputs(name: str):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
