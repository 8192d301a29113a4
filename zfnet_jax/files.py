"""Files and folders that appear only when they are whole."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """What a JSON file holds; ValueError names a file that holds none."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON ({error})") from None


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears only when it is whole."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """A temporary folder to write to, whose files move to `out` at the end.

    Args:
      out: the folder to make; files of the same names in it are replaced.

    Yields:
      The folder to write to. After an error inside, `out` is as it was.

    Raises:
      ValueError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder, it is a file")
    place = out.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=place) as temporary:
        yield Path(temporary)
        out.mkdir(exist_ok=True)
        for file in sorted(Path(temporary).iterdir()):
            os.replace(file, out / file.name)
