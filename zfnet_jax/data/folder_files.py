"""What is in a folder of pictures, without the folders and files that systems put there."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from zfnet_jax.core.text import printable
from zfnet_jax.data.scan import is_picture_name
from zfnet_jax.data.source import Skipped

SYSTEM_NAMES = frozenset(
    {
        "__macosx",  # archives made on macOS
        "@eadir",  # Synology's thumbnails
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "lost+found",  # ext4
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",  # macOS
        "__pycache__",
    }
)
"""Folders and files that are no part of a data set, in small letters; names that begin with a dot,
such as .Trashes and .thumbnails, are none either."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out of every data set."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden ones."""
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not is_hidden(e.name))


def stray_pictures(root: Path, folder: Path) -> list[Skipped]:
    """Pictures that lie beside the class folders in a folder."""
    return [
        Skipped(
            printable(Path(entry.path).relative_to(root).as_posix()), "not inside a class folder"
        )
        for entry in os.scandir(folder)
        if entry.is_file() and not is_hidden(entry.name) and is_picture_name(entry.name)
    ]


def files_below(root: Path, folders: Iterable[str] = (".",)) -> set[str]:
    """The files in folders of a root, as names relative to it; links are followed.

    Each real folder counts once for each of `folders`; hidden files and folders are left out.
    """
    names: set[str] = set()
    for folder in folders:
        visited: set[str] = set()
        for inside, inner, files in os.walk(root / folder, onerror=_fail, followlinks=True):
            inner[:] = sorted(name for name in inner if not is_hidden(name))
            if (real := os.path.realpath(inside)) in visited:  # A symbolic link led back here.
                inner.clear()
                continue
            visited.add(real)
            relative = PurePosixPath(Path(inside).relative_to(root).as_posix())
            names.update(str(relative / name) for name in files if not is_hidden(name))
    return names


def _fail(error: OSError) -> None:
    raise error
