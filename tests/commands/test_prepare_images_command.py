import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from zfnet_jax.commands import command_line
from zfnet_jax.data import prepare
from zfnet_jax.data.decode import decode
from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.prepare import prepare_images
from zfnet_jax.data.tfds import open_tfds

ROOT = Path(__file__).resolve().parents[2]
HTML_LIKE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three classes of five pictures and one file that is none."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "猫", HTML_LIKE)):
        folder = tmp_path / "My Photos" / name
        folder.mkdir(parents=True)
        for number in range(5):
            small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
            small.resize((90, 60)).save(folder / f"{label}{number}.png")
    (tmp_path / "My Photos" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return tmp_path / "My Photos"


def run(cwd: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tools" / "prepare_images.py", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_command(photos, tmp_path):
    done = run(tmp_path, "My Photos", "--out", "sets", "--size", "32")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("skipped cat/broken.jpg: ")
    assert done.stderr.count("\n") == 1
    *_, last = done.stdout.splitlines()
    assert "12 training and 3 validation pictures of 3 classes to sets/my_photos" in last
    assert "1 files skipped" in last
    assert last.endswith("--config configs/folder.py --data.source tfds:my_photos@sets")
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["my_photos"]
    splits = open_tfds(f"tfds:my_photos@{tmp_path}/sets")
    assert (len(splits.train), len(splits.val)) == (12, 3)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["absent", "--out", "sets"], "absent does not exist"),
        (["My Photos", "--out", "taken"], "taken/my_photos exists already"),
        (["My Photos", "--out", "sets", "--name", "A b"], "'A b', expected small letters"),
        (["My Photos", "--out", "sets", "--size", "0"], "size is 0"),
        (["My Photos", "--out", "sets", "--siz", "3"], "--siz"),
        (["My Photos"], "--out"),
        (["My Photos", "--out", "sets", "--train-list", "x.txt"], "or neither"),
        (["My Photos", "--out", "a file/sets"], "a file"),
    ],
)
def test_errors_are_one_line(main, capsys, monkeypatch, photos, tmp_path, args, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken" / "my_photos").mkdir(parents=True)
    (tmp_path / "a file").touch()
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, args)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert not (tmp_path / "sets").exists()


@pytest.mark.parametrize(("encoding", "within"), [("png", 0), ("jpeg", 4)])
def test_what_is_stored(photos, tmp_path, encoding, within):
    prepared = prepare_images(photos, tmp_path / "sets", name="x", size=32, encoding=encoding)
    stored, original = open_tfds(prepared.source), open_folder(photos)
    assert stored.train.class_names == original.train.class_names
    for packed, source in ((stored.train, original.train), (stored.val, original.val)):
        by_name = {source[i].name: source[i] for i in range(len(source))}
        assert len(packed) == len(source)
        for index in range(len(packed)):
            image, label, name = packed[index]
            assert label == by_name[name].label
            difference = decode(image, 32).astype(int) - decode(by_name[name].image, 32)
            assert np.abs(difference).mean() <= within
            assert Image.open(io.BytesIO(image)).size == (32, 32)


def test_the_splits_of_the_folder_are_kept(tmp_path):
    for split, count in (("train", 2), ("val", 1)):
        for name in ("a", "b"):
            (tmp_path / "p" / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (9, 9)).save(tmp_path / "p" / split / name / f"{number}.png")
    stored = open_tfds(prepare_images(tmp_path / "p", tmp_path / "sets").source)
    assert sorted(stored.val[i].name for i in range(2)) == ["val/a/0.png", "val/b/0.png"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_an_unfinished_data_set(photos, tmp_path, monkeypatch, error):
    calls = []

    def fail(image, size):
        calls.append(size)
        if len(calls) > 8:
            raise error("stop")
        return decode(image, size)

    monkeypatch.setattr(prepare, "decode", fail)
    with pytest.raises(error):
        prepare_images(photos, tmp_path / "sets", size=16)
    assert list((tmp_path / "sets").iterdir()) == []
    monkeypatch.undo()
    assert prepare_images(photos, tmp_path / "sets", size=16).folder.is_dir()


def test_two_processes_do_not_make_one_data_set(photos, tmp_path):
    (tmp_path / "sets" / ".photos.partial").mkdir(parents=True)  # what a killed process left
    with (
        FileLock(tmp_path / "sets" / ".photos.lock"),
        pytest.raises(ValueError, match="photos: another process is writing to it"),
    ):
        prepare_images(photos, tmp_path / "sets", name="photos", size=16)
    prepare_images(photos, tmp_path / "sets", name="photos", size=16)
    assert [path.name for path in (tmp_path / "sets").glob(".*.partial")] == []


def test_a_picture_that_broke_after_the_scan_is_named(photos, tmp_path, monkeypatch):
    splits = open_folder(photos)
    (photos / "cat" / "00.png").write_bytes(b"gone")
    monkeypatch.setattr(prepare, "open_folder", lambda folder: splits)
    with pytest.raises(ValueError, match=r"cat/00\.png: not a picture"):
        prepare_images(photos, tmp_path / "sets")


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Photos", "my_photos"), ("101_Categories", "images_101_categories"), ("猫", "images")],
)
def test_default_name(folder, name):
    assert prepare._default_name(Path(folder)) == name


def test_metadata_names_no_path_of_this_machine(photos, tmp_path):
    prepared = prepare_images(photos, tmp_path / "sets", size=16)
    for file in prepared.folder.rglob("*.json"):
        assert str(tmp_path) not in file.read_text()
        json.loads(file.read_text())


def test_a_full_disk_is_named(photos, tmp_path):
    """No file may be larger than 2000 bytes, as at the end of a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    open_folder(photos)  # fills the cache of the scan
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=r"sets/my_photos: cannot be written, .*File too large"):
            prepare_images(photos, tmp_path / "sets", size=64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "sets").iterdir()) == []
