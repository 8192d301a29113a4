"""Text files that list pictures of a folder, one name a line.

A name that holds a line break cannot be listed; `scan` refuses such pictures, and any with other
control characters in their names, so that every picture of a data set can.
"""

import os
from pathlib import Path, PurePosixPath

from zfnet_jax.core.text import printable


def read_list(path: str | os.PathLike[str], root: Path) -> list[str]:
    """The names in a list of pictures, each a file CLASS/PICTURE in a folder.

    Args:
      path: the list, UTF-8; empty lines do not count.
      root: the folder.

    Raises:
      ValueError: the list cannot be read, or names what is not there or is there already; says in
        which line.
    """
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise ValueError(f"cannot read the list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the list {path}: not UTF-8 text") from error
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        inside = PurePosixPath(line)
        name = str(inside)
        relative = not inside.is_absolute() and ".." not in inside.parts
        if len(inside.parts) < 2 or not relative or not _is_file(root / name):
            raise ValueError(
                f"{path}, line {number}: no file {printable(name)} in {root}, expected "
                "CLASS/PICTURE"
            )
        if name in first_line:
            raise ValueError(f"{path}, line {number}: {name} is on line {first_line[name]} already")
        first_line[name] = number
    return list(first_line)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # A name that is too long, or holds a zero byte.
        return False
