"""Files that come with the package, configurations and weights, found by name from any folder."""

from pathlib import Path
from typing import Literal

Kind = Literal["configs", "weights"]

SUFFIXES = {"configs": ".py", "weights": ".safetensors"}
"""How the names of the files of each kind end."""

_PACKAGE = Path(__file__).resolve().parent.parent


def path(kind: Kind, name: str) -> Path:
    """The file of a configuration, or of a net's weights, that comes with the package.

    Args:
      kind: "configs" or "weights".
      name: the file's name without its suffix, such as "caltech101".

    Raises:
      ValueError: there is no such file; the message lists those that exist.
    """
    if name not in names(kind):
        what = {"configs": "config", "weights": "net"}[kind]
        raise ValueError(
            f"{what} {name!r}: expected a file, or a name out of {', '.join(names(kind))}"
        )
    return _folder(kind) / f"{name}{SUFFIXES[kind]}"


def names(kind: Kind) -> list[str]:
    """The names that `path` knows, in alphabetical order."""
    return sorted(file.stem for file in _folder(kind).glob(f"*{SUFFIXES[kind]}"))


def _folder(kind: Kind) -> Path:
    """Inside the package where it was installed from a wheel, beside it in a source checkout."""
    installed = _PACKAGE / "_resources" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind
