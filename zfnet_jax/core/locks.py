"""Locks of folders: one process writes to a folder at a time.

A command takes the lock, then looks at what is there, then writes. A process that is killed frees
its locks.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import filelock

from zfnet_jax.core import signals

_held: set[Path] = set()  # the lock files of this process


@contextlib.contextmanager
def locked_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Makes a folder, and keeps other processes from writing to it.

    A folder that was made for nothing is removed at the end. Inside another such block of the
    same folder it does nothing.

    Args:
      folder: the folder.
      wait: whether to wait for another process that is writing to it.

    Raises:
      ValueError: it is a file, or another process is writing to it, which is not waited for.
      OSError: it cannot be made.
    """
    expect_folder(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    # As it is now, since a command may change its working folder.
    remove = partial(_remove_if_empty, folder.absolute())
    made = signals.finally_calling(remove) if is_new else contextlib.nullcontext()
    with made, locked(folder / ".lock", folder, wait=wait):
        yield


@contextlib.contextmanager
def locked(file: Path, folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file, which is removed at the end; inside another such block, does nothing.

    Args:
      file: the lock file.
      folder: what it locks.
      wait: whether to wait for another process that holds it.

    Raises:
      ValueError: another process holds it, which is not waited for.
    """
    file = file.absolute()
    if file in _held:
        yield
        return
    lock = _acquire(file, wait)
    if lock is None:
        raise ValueError(
            f"{folder}: another process is writing to it; expected one at a time, or another folder"
        )
    _held.add(file)
    try:
        with signals.finally_calling(partial(file.unlink, missing_ok=True)):
            yield
    finally:
        _held.discard(file)
        lock.release()


def expect_folder(path: Path) -> None:
    """Raises ValueError where a file is in the way of a folder."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: expected a folder, it is a file")


def _acquire(file: Path, wait: bool) -> filelock.BaseFileLock | None:
    """A lock on the file of this name, not on one removed meanwhile; None if another holds it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), file.open("a") as opened:
            # Its inode cannot come back as another file's, since it is open.
            lock = filelock.FileLock(file)
            try:
                lock.acquire(blocking=wait)
            except filelock.Timeout:
                return None
            if file.exists() and os.path.samestat(os.fstat(opened.fileno()), file.stat()):
                return lock
            lock.release()


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
