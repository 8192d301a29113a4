"""Run the notebooks and store small outputs in them, so that a code host shows their pictures.

    python notebooks/store_outputs.py

The pictures are of drawn shapes and of scikit-image's public-domain photographs.
"""

import base64
import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent
WIDTH = 720
"""Pictures are stored no wider than this, in pixels."""
LINES = 12
"""So many lines of a cell's text are stored, the last ones."""

_PROGRESS = re.compile(r"\d+%\||\d+batch \[|\x1b")


def run(name: str, parameters: Mapping[str, object], folder: Path) -> Any:
    """Runs a notebook in a folder, on the package as it is installed here.

    Args:
      name: the notebook's name without its suffix.
      parameters: values that replace those of the cell tagged "parameters".
      folder: where its relative paths lie.

    Returns:
      The notebook with its outputs. The cell tagged "install" was not run.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    sources = [cell.source for cell in notebook.cells]
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", ())
        if "install" in tags:
            cell.source = ""
        if "parameters" in tags:
            cell.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}}).execute()
    for cell, source in zip(notebook.cells, sources, strict=True):
        cell.source = source
    return notebook


def shorten(notebook: Any) -> None:
    """Keeps of the outputs small pictures and the last lines of each cell's text."""
    for cell in notebook.cells:
        cell.pop("execution_count", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            streams = [output.text for output in cell.outputs if output.output_type == "stream"]
            pictures = [kept for output in cell.outputs if (kept := _small_picture(output))]
            cell.outputs = [*_short_text("".join(streams)), *pictures]
    notebook.metadata.pop("widgets", None)


def _short_text(text: str) -> list[Any]:
    """The last lines of what a cell prints, without its progress bars; nothing where none is."""
    # A progress bar draws over its own line.
    lines = [line.rpartition("\r")[2].strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not _PROGRESS.search(line)][-LINES:]
    return [nbformat.v4.new_output("stream", text="\n".join(lines) + "\n")] if lines else []


def _small_picture(output: Any) -> Any:
    encoded = output.get("data", {}).get("image/png")
    if encoded is None:
        return None
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    picture.thumbnail((WIDTH, 2 * WIDTH))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80, optimize=True)
    data = {"image/jpeg": base64.b64encode(file.getvalue()).decode()}
    return nbformat.v4.new_output("display_data", data=data)


def main() -> None:
    """Runs both notebooks in an empty folder and writes them with their outputs."""
    for name in ("train", "look"):
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(name, {}, Path(folder))
        shorten(notebook)
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
