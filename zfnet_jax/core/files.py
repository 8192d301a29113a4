"""Files and folders that appear only when they are whole, and that one process writes at a time.

What is being written has a name that ends in `.partial`, beside the result or inside its folder.
A process that is killed leaves it there; the next one that writes the same result removes it.
"""

import contextlib
import errno
import glob
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from zfnet_jax.core import signals

PARTIAL = ".partial"
"""How the name of what is being written ends."""

_UNNAMED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a write, which do not say where."""

_temporary: list[Path] = []  # for an end of the process without the main thread
_held: set[Path] = set()  # lock files


def read_json(path: Path) -> Any:
    """What a JSON file holds; ValueError names a file that holds none."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON ({error})") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside a file's to write to, which becomes the file's own at the end.

    Args:
      path: the file; one of this name is replaced.

    Yields:
      The name to write to, this process's own. After an error inside, `path` is as it was.

    Raises:
      OSError: it cannot be written; names the file also where the disk is full.
    """
    _remove_left_by_dead_processes(path)
    partial = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{PARTIAL}")
    with _removed_at_the_end(partial), _errors_that_name(path, partial):
        yield partial
        os.replace(partial, path)


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
      ValueError: `out` is a file, or another process is writing to it.
      OSError: it cannot be written; names `out` also where the disk is full.
    """
    partial = out / PARTIAL
    with locked_folder(out), _errors_that_name(out, partial), work_folder(partial):
        yield partial
        with signals.undivided():
            for file in sorted(partial.iterdir()):
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
      ValueError: `out` is a file, or exists and may not be replaced, or another process is
        writing to it.
      OSError: it cannot be written; names `out` also where the disk is full.
    """
    with _locked(beside(out, ".lock"), out):
        expect_free(out, overwrite=overwrite)
        partial = beside(out, PARTIAL)
        with _errors_that_name(out, partial), work_folder(partial):
            made, old = partial / "new", partial / "old"
            made.mkdir()
            yield made
            with signals.undivided():
                if out.exists():
                    os.replace(out, old)
                os.replace(made, out)


def expect_free(out: Path, *, overwrite: bool) -> None:
    """Raises ValueError where a folder is in the way of a new one."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder, it is a file")
    if out.exists() and not overwrite:
        raise ValueError(f"{out}: exists; expected another --out, or --overwrite")


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing to a folder, which is made; the end of this one frees it.

    A folder that was made for nothing is removed at the end. Inside another such block of the
    same folder it does nothing.

    Raises:
      ValueError: it is a file, or another process is writing to it.
      OSError: it cannot be made.
    """
    expect_free(folder, overwrite=True)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder / ".lock", folder):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


@contextlib.contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """A folder for files that only this block needs, at a path of its own.

    Args:
      path: the folder. What an earlier process left there is removed, so it must be one that no
        two processes use at a time.

    Yields:
      The folder, empty.
    """
    _remove(path)
    with _removed_at_the_end(path):
        path.mkdir(parents=True)
        yield path


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for files that only this block needs, where the system keeps such files.

    Raises:
      OSError: the disk is full; says which.
    """
    path = Path(tempfile.mkdtemp(prefix="zfnet_jax-"))
    with _removed_at_the_end(path), _errors_that_name(path.parent, path):
        yield path


def beside(path: Path, suffix: str) -> Path:
    """A hidden name beside a file or a folder, for what is kept while it is made."""
    whole = path.absolute()
    return whole.with_name(f".{whole.name}{suffix}")


def remove_partial(folder: Path) -> None:
    """Removes what killed processes left in a folder; the caller has it locked."""
    for path in folder.glob(f"*{PARTIAL}"):
        _remove(path)


@contextlib.contextmanager
def _locked(file: Path, folder: Path) -> Iterator[None]:
    """Holds the lock file of a folder, and removes it at the end."""
    if file in _held:
        yield
        return
    lock = _acquire(file)
    if lock is None:
        raise ValueError(
            f"{folder}: another process is writing to it; expected one at a time, or another folder"
        )
    _held.add(file)
    try:
        with _removed_at_the_end(file):
            yield
    finally:
        _held.discard(file)
        lock.release()


def _acquire(file: Path) -> filelock.BaseFileLock | None:
    """A lock on the file of this name, not on one removed meanwhile; None if another holds it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), file.open("a") as opened:
            # Its inode cannot come back as another file's, since it is open.
            lock = filelock.FileLock(file)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return None
            if file.exists() and os.path.samestat(os.fstat(opened.fileno()), file.stat()):
                return lock
            lock.release()


@contextlib.contextmanager
def _removed_at_the_end(path: Path) -> Iterator[None]:
    """Removes a file or folder at the end, also where the process ends without the main thread."""
    path = path.absolute()  # a command may change its working folder
    _temporary.append(path)
    try:
        yield
    finally:
        _remove(path)
        _temporary.remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_temporary() -> None:
    for path in reversed(_temporary):  # those inside others first
        with contextlib.suppress(OSError):
            _remove(path)


signals.before_ending(_remove_temporary)


def _remove_left_by_dead_processes(path: Path) -> None:
    """Removes what `whole_file` of this path left in processes of this host that were killed."""
    start = f"{path.name}.{socket.gethostname()}-"
    for partial in path.parent.glob(f"{glob.escape(start)}*{PARTIAL}"):
        number = partial.name.removeprefix(start).removesuffix(PARTIAL)
        if number.isdecimal() and not _is_alive(int(number)):
            partial.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


@contextlib.contextmanager
def _errors_that_name(path: Path, partial: Path) -> Iterator[None]:
    """Gives errors of writing `partial`, or into it, the name that a user knows, `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            is_ours = error.errno in _UNNAMED
        else:
            named = Path(os.fsdecode(error.filename)).absolute()
            is_ours = named.is_relative_to(partial.absolute())
        if not is_ours:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
