"""The Colab notebook runs from its first cell to its last, on the CPU."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "zfnet_colab.ipynb"


@pytest.mark.slow
# What the kernel's own libraries warn of while they start and stop is not this package's.
@pytest.mark.filterwarnings("default")
def test_runs_and_shows_four_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("ZFNET_JAX_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("ZFNET_JAX_OPTIONS", "--train.max-steps 60")
    # A kernel that is started under pytest does not show what its subprocesses print.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": NOTEBOOK.parent}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == 4
    text = "".join(output.get("text", "") for output in outputs)
    assert "look inside it: python tools/deconv.py" in text


def test_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
