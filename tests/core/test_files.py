"""Files and folders appear only when they are whole, and one process writes them at a time."""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zfnet_jax.core import files, locks


class Broken(Exception):
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


# One file


@pytest.mark.parametrize("text", ["", "{", '{"a": nan}', "[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, text: str):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: expected JSON \("):
        files.read_json(path)


def test_a_file_appears_when_it_is_whole(tmp_path: Path):
    file = tmp_path / "a.txt"
    with files.whole_file(file) as partial:
        partial.write_text("new")
        assert not file.exists()
    assert file.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_after_an_error_the_old_file_stays(tmp_path: Path):
    def break_off() -> None:
        with files.whole_file(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise Broken

    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(Broken):
        break_off()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path: Path):
    host = socket.gethostname()
    kept = [
        f"a.txt.{host}-{os.getppid()}.partial",
        f"a.txt.elsewhere-{dead_process()}.partial",
        f"b.txt.{host}-{dead_process()}.partial",
    ]
    for name in (*kept, f"a.txt.{host}-{dead_process()}.partial"):
        (tmp_path / name).write_text("half")
    files.write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == sorted([*kept, "a.txt"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), "open"])
def test_a_full_disk_says_where(tmp_path: Path, error: OSError | str):
    def fail(inside: Path) -> None:
        if isinstance(error, OSError):
            raise error
        (inside / "missing" / "file").write_text("")

    for write in (
        files.whole_file(tmp_path / "out"),
        files.output_folder(tmp_path / "out"),
        files.whole_folder(tmp_path / "out", overwrite=False),
    ):
        with pytest.raises(OSError) as raised, write as partial:  # noqa: PT011
            fail(partial)
        assert raised.value.filename == str(tmp_path / "out")
        assert names(tmp_path) == []


def test_another_file_that_is_missing_keeps_its_name(tmp_path: Path):
    with (
        pytest.raises(FileNotFoundError) as raised,
        files.output_folder(tmp_path / "out"),
    ):
        (tmp_path / "picture.png").read_bytes()
    assert raised.value.filename == str(tmp_path / "picture.png")


# Folders


def test_files_move_to_the_folder_at_the_end(tmp_path: Path):
    out = tmp_path / "deep" / "out"
    files.write_text(tmp_path / "other", "")
    for text in ("first", "second"):
        with files.output_folder(out) as folder:
            (folder / "a.txt").write_text(text)
            assert not (out / "a.txt").exists() or text == "second"
        assert (out / "a.txt").read_text() == text
        assert names(out) == ["a.txt"]


@pytest.mark.parametrize("before", [None, "mine"])
def test_after_an_error_the_folder_is_as_it_was(tmp_path: Path, before: str | None):
    out = tmp_path / "out"
    if before:
        out.mkdir()
        files.write_text(out / "a.txt", before)

    def break_off() -> None:
        with files.output_folder(out) as folder:
            (folder / "a.txt").write_text("half")
            raise Broken

    with pytest.raises(Broken):
        break_off()
    if before:
        assert names(out) == ["a.txt"]
        assert (out / "a.txt").read_text() == before
    else:
        assert names(tmp_path) == []


def test_a_whole_folder_replaces_another_only_where_it_may(tmp_path: Path):
    out = tmp_path / "out"
    for overwrite in (False, True):
        with files.whole_folder(out, overwrite=overwrite) as folder:
            (folder / f"{overwrite}.txt").write_text("")
    assert names(out) == ["True.txt"]
    with pytest.raises(ValueError, match="out: exists"), files.whole_folder(out, overwrite=False):
        pass
    assert names(tmp_path) == ["out"]


def test_what_a_killed_process_left_of_folders_is_removed(tmp_path: Path):
    out = tmp_path / "out"
    for left in (out / ".partial", tmp_path / ".out.partial"):
        left.mkdir(parents=True)
        (left / "half").write_text("")
    with files.output_folder(out) as folder:
        assert names(folder) == []
        (folder / "a.txt").write_text("")
    assert names(out) == ["a.txt"]
    with files.whole_folder(out, overwrite=True) as folder:
        assert names(folder) == []
    assert names(tmp_path) == ["out"]


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    for write in (
        files.output_folder(tmp_path / "out"),
        files.whole_folder(tmp_path / "out", overwrite=True),
        locks.locked_folder(tmp_path / "out"),
    ):
        with pytest.raises(ValueError, match="out: expected a folder, it is a file"), write:
            pass
    assert names(tmp_path) == ["out"]


# Locks


def attempt(kind: str, out: Path) -> str:
    """What another process is told that writes a folder."""
    open_folder = {
        "output": files.output_folder,
        "whole": lambda out: files.whole_folder(out, overwrite=True),
        "locked": locks.locked_folder,
    }[kind]
    try:
        with open_folder(out):
            return "free"
    except ValueError as error:
        return str(error)


@pytest.fixture(scope="module")
def other_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield lambda *args: pool.apply(attempt, args)


@pytest.mark.parametrize("kind", ["output", "whole", "locked"])
def test_one_process_writes_a_folder_at_a_time(other_process, tmp_path: Path, kind: str):
    out = tmp_path / "out"
    with contextlib.ExitStack() as stack:
        if kind == "whole":
            stack.enter_context(files.whole_folder(out, overwrite=False))
        else:
            stack.enter_context(locks.locked_folder(out))
            stack.enter_context(locks.locked_folder(out))  # of one process, inside each other
        before = sorted(tmp_path.rglob("*"))
        assert other_process(kind, out).startswith(f"{out}: another process is writing to it")
        assert sorted(tmp_path.rglob("*")) == before
    assert other_process(kind, out) == "free"
    assert names(tmp_path) == (["out"] if kind == "whole" else [])


def test_one_waits_for_the_other_where_they_work_together(tmp_path: Path):
    out, released = tmp_path / "out", []
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def release() -> None:
            released.append(True)
            fcntl.flock(lock, fcntl.LOCK_UN)

        threading.Timer(0.2, release).start()
        with files.output_folder(out, wait=True) as folder:
            assert released
            (folder / "a.txt").write_text("")
    assert names(out) == ["a.txt"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path):
    code = f"""
import os, signal
from pathlib import Path
from zfnet_jax.core import files
with files.output_folder(Path({str(tmp_path)!r}, "out")) as folder:
    (folder / "half").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert names(tmp_path / "out") == [".lock", ".partial"]
    with files.output_folder(tmp_path / "out"):
        pass
    assert names(tmp_path / "out") == []


def test_an_end_without_the_main_thread_leaves_nothing(tmp_path: Path):
    code = f"""
import hashlib, os, signal
from pathlib import Path
from zfnet_jax.core import files, signals
signals.GRACE = 0.1
signals.watch()
out = Path({str(tmp_path)!r})
with (
    files.whole_folder(out / "whole", overwrite=False) as whole,
    files.output_folder(out / "output") as output,
    files.whole_file(out / "file") as file,
    files.temporary_folder() as temporary,
):
    for path in (whole / "half", output / "half", file, temporary / "half"):
        path.write_text("")
    print(temporary, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "")
    assert not Path(done.stdout.strip()).exists()
    assert names(tmp_path) == []
