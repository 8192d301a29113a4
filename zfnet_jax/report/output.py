"""Output folders whose files appear together, when all of them are whole."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
