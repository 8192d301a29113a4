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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside a file's to write to, which becomes the file's own at the end.

    Args:
      path: the file; one of this name is replaced.

    Yields:
      The name to write to, this process's own. After an error inside, `path` is as it was.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8; the file appears only when it is whole."""
    with whole_file(path) as partial:
        partial.write_text(text, "utf-8")


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Writes a value as JSON; the file appears only when it is whole.

    Args:
      path: the file; one of this name is replaced.
      value: what `json.dumps` takes, with finite numbers alone.
      indent: spaces of a level; None writes one line.

    Raises:
      ValueError: a number is not finite, which JSON cannot say.
    """
    try:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path.name}: expected finite numbers ({error})") from None
    write_text(path, text + "\n")


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


@contextlib.contextmanager
def whole_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder to write to, which becomes `out` at the end.

    Args:
      out: the folder to make.
      overwrite: whether one that exists may be replaced.

    Yields:
      The folder to write to. After an error inside, `out` is as it was.

    Raises:
      ValueError: `out` is a file, or exists and may not be replaced.
    """
    expect_free(out, overwrite=overwrite)
    place = out.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=place) as temporary:
        made, old = Path(temporary, "new"), Path(temporary, "old")
        made.mkdir()
        yield made
        if out.exists():
            os.replace(out, old)
        os.replace(made, out)


def expect_free(out: Path, *, overwrite: bool) -> None:
    """Raises ValueError where a folder is in the way of a new one."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder, it is a file")
    if out.exists() and not overwrite:
        raise ValueError(f"{out}: exists; expected another --out, or --overwrite")
