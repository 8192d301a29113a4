"""Files and folders that appear only when they are whole.

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
from functools import partial
from pathlib import Path
from typing import Any

from zfnet_jax.core import signals
from zfnet_jax.core.locks import expect_folder, locked, locked_folder

PARTIAL = ".partial"
"""How the name of what is being written ends."""

_UNNAMED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a write, which do not say where."""


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
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{PARTIAL}")
    with _removed_at_the_end(temporary), errors_that_name(path, temporary):
        yield temporary
        os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8; the file appears only when it is whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, "utf-8")


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
def output_folder(out: Path, *, wait: bool = False) -> Iterator[Path]:
    """A temporary folder to write to, whose files move to `out` at the end.

    Args:
      out: the folder to make; files of the same names in it are replaced.
      wait: whether to wait for another process that is writing to it.

    Yields:
      The folder to write to. After an error inside, `out` is as it was.

    Raises:
      ValueError: `out` is a file, or another process is writing to it, which is not waited for.
      OSError: it cannot be written; names `out` also where the disk is full.
    """
    temporary = out / PARTIAL
    with (
        locked_folder(out, wait=wait),
        errors_that_name(out, temporary),
        work_folder(temporary),
    ):
        yield temporary
        with signals.undivided():
            for file in sorted(temporary.iterdir()):
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
    with locked(beside(out, ".lock"), out):
        expect_free(out, overwrite=overwrite)
        temporary = beside(out, PARTIAL)
        with errors_that_name(out, temporary), work_folder(temporary):
            made, old = temporary / "new", temporary / "old"
            made.mkdir()
            yield made
            with signals.undivided():
                if out.exists():
                    os.replace(out, old)
                os.replace(made, out)


def expect_free(out: Path, *, overwrite: bool) -> None:
    """Raises ValueError where a folder is in the way of a new one."""
    expect_folder(out)
    if out.exists() and not overwrite:
        raise ValueError(f"{out}: exists; expected another --out, or --overwrite")


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
    with _removed_at_the_end(path), errors_that_name(path.parent, path):
        yield path


@contextlib.contextmanager
def errors_that_name(path: Path, temporary: Path) -> Iterator[None]:
    """Has errors of writing name a path, also that of a full disk, which names none.

    Args:
      path: what a user knows.
      temporary: what is written in its place, a file or a folder.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            is_ours = error.errno in _UNNAMED
        else:
            named = Path(os.fsdecode(error.filename)).absolute()
            is_ours = named.is_relative_to(temporary.absolute())
        if not is_ours:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def beside(path: Path, suffix: str) -> Path:
    """A hidden name beside a file or a folder, for what is kept while it is made."""
    whole = path.absolute()
    return whole.with_name(f".{whole.name}{suffix}")


def remove_partial(folder: Path) -> None:
    """Removes what killed processes left in a folder; the caller has it locked."""
    for path in folder.glob(f"*{PARTIAL}"):
        _remove(path)


def _removed_at_the_end(path: Path) -> contextlib.AbstractContextManager[None]:
    return signals.finally_calling(partial(_remove, path.absolute()))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_left_by_dead_processes(path: Path) -> None:
    """Removes what `whole_file` of this path left in processes of this host that were killed."""
    start = f"{path.name}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(start)}*{PARTIAL}"):
        number = left.name.removeprefix(start).removesuffix(PARTIAL)
        if number.isdecimal() and not _is_alive(int(number)):
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True
