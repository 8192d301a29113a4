import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zfnet_jax.data import scan
from zfnet_jax.data.decode import decode
from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.source import Splits, warn_of_skipped

HTML_LIKE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    return place


def save(path: Path, colour: tuple[int, int, int] = (255, 0, 0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), colour).save(path)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """Two classes of ten pictures."""
    root = tmp_path / "pictures"
    for name in ("cat", "dog"):
        for number in range(10):
            save(root / name / f"{number:02}.png", (number, 0, 0))
    return root


def names(splits: Splits) -> tuple[list[str], list[str]]:
    return tuple(
        [source[i].name for i in range(len(source))] for source in (splits.train, splits.val)
    )


def everything(splits: Splits) -> list[str]:
    train, val = names(splits)
    return train + val


def skipped(splits: Splits) -> dict[str, str]:
    return {file.name: file.reason for file in splits.skipped}


def test_items(root):
    train = open_folder(root).train
    assert train.class_names == ("cat", "dog")
    assert train.labels.dtype == np.int32
    for index in range(len(train)):
        image, label, name = train[index]
        assert label == train.labels[index] == ["cat", "dog"].index(name.split("/")[0])
        assert decode(image, 4)[0, 0].tolist() == [int(name[4:6]), 0, 0]


def test_the_split_is_stratified_and_complete(root):
    for number in range(3):
        save(root / "few" / f"{number}.png")
    splits = open_folder(root, val_fraction=0.3)
    train, val = names(splits)
    assert np.bincount(splits.val.labels).tolist() == [3, 3, 1]
    assert not set(train) & set(val)
    assert len(train + val) == 23
    assert train == sorted(train)
    assert splits.train.class_names == splits.val.class_names


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_both_splits_have_every_class(root, fraction):
    splits = open_folder(root, val_fraction=fraction)
    assert set(splits.train.labels) == set(splits.val.labels) == {0, 1}


def test_the_split_follows_from_the_seed(root):
    assert names(open_folder(root)) == names(open_folder(root))
    assert names(open_folder(root)) != names(open_folder(root, seed=1))
    _, before = names(open_folder(root))
    save(root / "dog" / "new.png")
    _, after = names(open_folder(root))
    assert len(set(before) ^ set(after)) <= 2  # The new one takes an old one's place, at most.


def test_suffixes_case_and_depth(root):
    for name in ("a.JPG", "b.jpeg", "c.Png", "deep/er/d.webp", "e.gif", "f.bmp", "g.TIFF"):
        save(root / "cat" / name)
    splits = open_folder(root)
    assert len(splits.train) + len(splits.val) == 27
    assert not splits.skipped
    assert "cat/deep/er/d.webp" in everything(splits)


@pytest.mark.parametrize("name", ["chat à Zürich", "猫", HTML_LIKE.replace("/", ""), "a b'\"&"])
def test_names_of_any_kind(root, name):
    for number in range(2):
        save(root / name / f"{name} {number}.png")
    splits = open_folder(root)
    assert name in splits.train.class_names
    found = [n for n in everything(splits) if n.startswith(name)]
    assert sorted(found) == [f"{name}/{name} {number}.png" for number in range(2)]


@pytest.mark.skipif(os.name != "posix", reason="file names are Unicode")
def test_names_that_are_not_text_are_skipped(root):
    os.rename(save(root / "cat" / "odd.png"), os.fsencode(root / "cat") + b"/\xff.png")
    assert skipped(open_folder(root)) == {
        "cat/\\udcff.png": "its name holds control characters or is not valid UTF-8"
    }


def test_classes_are_sorted_by_code_point(tmp_path):
    for name in ("b", "B", "ä", "a", "Z"):
        for number in range(2):
            save(tmp_path / "p" / f"{name}{ord(name)}" / f"{number}.png")
    assert [c[0] for c in open_folder(tmp_path / "p").train.class_names] == [
        "B",
        "Z",
        "a",
        "b",
        "ä",
    ]


def test_unusable_files_are_skipped_and_listed(root, tmp_path):
    whole = save(root / "cat" / "noise.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).save(whole)
    (root / "cat" / "half.jpg").write_bytes(whole.read_bytes()[:900])
    (root / "cat" / "empty.png").touch()
    (root / "dog" / "page.jpg").write_text("<html></html>")
    (root / "dog" / "notes.txt").write_text("rex")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    (root / "dog" / "folder.png").mkdir()
    os.mkfifo(root / "dog" / "pipe.png")
    save(root / "stray.png")
    for hidden in (".DS_Store", "._00.png", ".git/x.png"):
        (root / "cat" / hidden).parent.mkdir(exist_ok=True)
        (root / "cat" / hidden).write_bytes(b"x")
    (root / ".cache").mkdir()
    (root / "labels.csv").write_text("a,b")
    splits = open_folder(root)
    reasons = skipped(splits)
    assert sorted(reasons) == [
        "cat/empty.png",
        "cat/half.jpg",
        "dog/gone.png",
        "dog/notes.txt",
        "dog/page.jpg",
        "dog/pipe.png",
        "stray.png",
    ]
    assert "empty" in reasons["cat/empty.png"]
    assert "truncated" in reasons["cat/half.jpg"]
    assert "not a picture" in reasons["dog/page.jpg"]
    assert reasons["dog/notes.txt"] == "not a picture's suffix: .txt"
    assert "No such file" in reasons["dog/gone.png"]
    assert not any("\n" in reason for reason in reasons.values())
    assert len(splits.train) + len(splits.val) == 21


def test_links(root, tmp_path):
    (root / "cat" / "linked.png").symlink_to(save(tmp_path / "elsewhere" / "x.png"))
    (root / "cat" / "loop").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    save(tmp_path / "elsewhere" / "y.png")
    found = everything(open_folder(root))
    assert {"cat/linked.png", "bird/x.png", "bird/y.png"} <= set(found)
    assert len(found) < 100


def test_train_and_val_folders(tmp_path):
    for split, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            for number in range(count):
                save(tmp_path / "p" / split / name / f"{number}.png")
    splits = open_folder(tmp_path / "p")
    assert names(splits)[1] == ["val/cat/0.png", "val/dog/0.png"]
    assert splits.train.class_names == splits.val.class_names == ("cat", "dog")
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    save(tmp_path / "p" / "val" / "stray.png")
    assert skipped(open_folder(tmp_path / "p")) == {"val/stray.png": "not inside a class folder"}
    save(tmp_path / "p" / "val" / "eel" / "0.png")
    with pytest.raises(ValueError, match="validation has classes that training lacks: eel"):
        open_folder(tmp_path / "p")


def fill(root: Path, *folders: str, count: int = 1) -> None:
    for folder in folders:
        for number in range(count):
            save(root / folder / f"{number}.png", (number, 0, 0))


@pytest.mark.parametrize(
    ("folders", "train", "val", "said"),
    [
        ("training validation", "training", "validation", "taken for training, validation for"),
        ("Train Val", "Train", "Val", "Train is taken for training, Val for validation"),
        ("TRAIN DEV", "TRAIN", "DEV", "TRAIN is taken for training, DEV for validation"),
        ("train valid test", "train", "valid", "valid for validation; left alone: test"),
        ("train test", "train", "test", "train is taken for training, test for validation"),
        ("train val extra", "train", "val", "val for validation; left alone: extra"),
        ("train dev val", "train", "val", "val for validation; left alone: dev"),
    ],
)
def test_split_folders_as_people_call_them(tmp_path, capsys, folders, train, val, said):
    root = tmp_path / "pictures"
    for folder in folders.split():
        fill(root, f"{folder}/cat", f"{folder}/dog")
    splits = open_folder(root)
    assert names(splits) == (
        [f"{train}/cat/0.png", f"{train}/dog/0.png"],
        [f"{val}/cat/0.png", f"{val}/dog/0.png"],
    )
    assert splits.train.class_names == ("cat", "dog")
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    open_folder(root)
    assert capsys.readouterr().err == "", "it is said once"


def test_usual_split_folders_say_nothing(tmp_path, capsys):
    root = tmp_path / "pictures"
    fill(root, "train/cat", "train/dog", "val/cat", "val/dog")
    open_folder(root)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flat_test", [False, True])
def test_a_training_folder_without_validation_is_split(tmp_path, capsys, flat_test):
    """A test folder without classes, as competitions have it, holds nothing to validate on."""
    root = tmp_path / "pictures"
    fill(root, "train/cat", "train/dog", *(["test"] if flat_test else []), count=5)
    train, val = names(open_folder(root))
    assert (len(train), len(val)) == (8, 2)
    assert all(name.startswith("train/") for name in train + val)
    said = capsys.readouterr().err
    assert "train is taken for training, and split, for validation" in said
    assert ("left alone: test" in said) == flat_test


SYSTEM_FOLDERS = [
    *("__MACOSX", "@eaDir", "lost+found", ".Trashes", "$RECYCLE.BIN", ".thumbnails"),
    *("System Volume Information", "#recycle"),
]


@pytest.mark.parametrize("inside", ["", "cat"])
def test_system_folders_and_files_are_ignored(root, inside):
    expected = everything(open_folder(root))
    for folder in SYSTEM_FOLDERS:
        save(root / inside / folder / "cat" / "0.png")
        (root / inside / folder / "unreadable.png").write_bytes(b"x")
    for file in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (root / inside / file).write_bytes(b"x")
    splits = open_folder(root)
    assert everything(splits) == expected
    assert splits.train.class_names == ("cat", "dog")
    assert not splits.skipped


@pytest.mark.parametrize("split", [False, True])
def test_an_empty_class_is_left_out_and_named(tmp_path, capsys, split):
    root = tmp_path / "pictures"
    for folder in ("train/", "val/") if split else ("",):
        fill(root, f"{folder}cat", f"{folder}dog", count=3)
        (root / folder / "emu").mkdir()
    (root / ("train/emu" if split else "emu") / "a.png").write_bytes(b"x")
    splits = open_folder(root)
    assert splits.train.class_names == ("cat", "dog")
    assert "no readable pictures in emu, which is left out" in capsys.readouterr().err


def test_names_that_differ_in_case_spaces_or_accents_form_are_one_class(tmp_path, capsys):
    root = tmp_path / "pictures"
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    fill(root, "Cat", "cat", "cat ", "dog", composed, decomposed, count=2)
    splits = open_folder(root)
    assert splits.train.class_names == ("Cat", composed, "dog")
    assert len(everything(splits)) == 12
    for index in range(len(splits.train)):
        example = splits.train[index]
        folder = example.name.split("/")[0]
        expected = {"cat": "Cat", "dog": "dog"}.get(folder.strip().lower(), composed)
        assert splits.train.class_names[example.label] == expected
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'Cat', 'cat', 'cat ' as Cat" in said
    assert f"as {composed}" in said


def test_splits_may_spell_their_classes_differently(tmp_path):
    root = tmp_path / "pictures"
    fill(root, "train/Cat", "train/dog", "val/cat ", "val/DOG")
    splits = open_folder(root)
    assert splits.train.class_names == splits.val.class_names == ("Cat", "DOG")
    assert splits.val.labels.tolist() == [1, 0]


def test_names_with_line_breaks_and_escape_sequences_are_skipped(root, capsys):
    save(root / "cat" / "a\nb.png")
    save(root / "dog" / "\x1b[31mred.png")
    splits = open_folder(root)
    reason = "its name holds control characters or is not valid UTF-8"
    assert skipped(splits) == {"cat/a\\nb.png": reason, "dog/\\x1b[31mred.png": reason}
    warn_of_skipped(splits.skipped)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_repainted_pictures_change_the_identity(root):
    """Under the same names, of the same size in bytes."""
    for name in ("cat", "dog"):
        for number in range(3):
            save(root / name / f"{number:02}.bmp", (number, 0, 0))
    before = open_folder(root)
    assert open_folder(root).train.identity == before.train.identity != before.val.identity
    name = next(name for name in before.train.names if name.endswith(".bmp"))
    size = (root / name).stat().st_size
    save(root / name, (0, 200, 0))
    os.utime(root / name, ns=(0, 0))
    assert (root / name).stat().st_size == size
    after = open_folder(root)
    assert after.train.names == before.train.names
    assert after.train.identity != before.train.identity
    assert after.val.identity == before.val.identity


def test_a_class_may_be_called_train(root):
    for number in range(2):
        save(root / "train" / f"{number}.png")
    assert open_folder(root).train.class_names == ("cat", "dog", "train")


def write_list(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def test_lists(root, tmp_path):
    train = write_list(tmp_path / "train.txt", "dog/03.png", "cat/01.png", "", "cat/00.png")
    val = write_list(tmp_path / "val.txt", "dog/04.png")
    splits = open_folder(root, train_list=train, val_list=val)
    assert names(splits) == (["cat/00.png", "cat/01.png", "dog/03.png"], ["dog/04.png"])
    (root / "cat" / "01.png").write_bytes(b"")
    splits = open_folder(root, train_list=train, val_list=val)
    assert list(skipped(splits)) == ["cat/01.png"]


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (["cat/00.png", "dog/00.png", "cat/xx.png"], ["cat/01.png"], "train.txt, line 3.*cat/xx"),
        (["cat/00.png", "dog/00.png"], ["", "00.png"], "val.txt, line 2: no file 00.png"),
        (["cat/00.png", "../x/00.png"], ["dog/00.png"], "train.txt, line 2"),
        (["cat/00.png", "dog/00.png", "cat/00.png"], ["cat/01.png"], "line 3.* on line 1 already"),
        (["cat/00.png", "dog/00.png"], ["cat/00.png"], "share 1 pictures .cat/00.png"),
        (["cat/00.png"], ["cat/01.png"], "one class, cat"),
        (["cat/00.png", "dog/00.png"], [], "val.txt names no readable pictures"),
        ([], ["cat/01.png"], "no readable pictures"),
    ],
)
def test_wrong_lists(root, tmp_path, train, val, message):
    lists = {
        "train_list": write_list(tmp_path / "train.txt", *train),
        "val_list": write_list(tmp_path / "val.txt", *val),
    }
    with pytest.raises(ValueError, match=message):
        open_folder(root, **lists)


def test_one_list_or_a_missing_one(root, tmp_path):
    with pytest.raises(ValueError, match="or neither"):
        open_folder(root, train_list=write_list(tmp_path / "train.txt", "cat/00.png"))
    with pytest.raises(ValueError, match=r"none\.txt: No such file"):
        open_folder(root, exclude=tmp_path / "none.txt")


def test_exclude(root, tmp_path):
    kept = names(open_folder(root))
    left_out = [kept[0][0], kept[1][0]]
    splits = open_folder(root, exclude=write_list(tmp_path / "exclude.txt", *left_out))
    assert not set(left_out) & set(everything(splits))
    assert not splits.skipped
    with pytest.raises(ValueError, match=r"exclude\.txt, line 1: no file cat/zz\.png"):
        open_folder(root, exclude=write_list(tmp_path / "exclude.txt", "cat/zz.png"))


def test_wrong_folders(root, tmp_path):
    with pytest.raises(ValueError, match="absent does not exist, expected a folder with"):
        open_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"00\.png is not a folder"):
        open_folder(root / "cat" / "00.png")
    with pytest.raises(ValueError, match=r"no readable pictures.*expected .*cat/CLASS/PICTURE"):
        open_folder(root / "cat")
    (tmp_path / "nothing" / "class").mkdir(parents=True)
    with pytest.raises(ValueError, match="no readable pictures"):
        open_folder(tmp_path / "nothing")
    save(root / "emu" / "0.png")
    with pytest.raises(ValueError, match=r"too few .* emu \(1\); expected at least 2"):
        open_folder(root)
    (root / "emu").rename(tmp_path / "emu")
    (root / "dog").rename(tmp_path / "dog")
    with pytest.raises(ValueError, match="one class, cat; expected at least 2"):
        open_folder(root)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_wrong_fraction(root, fraction):
    with pytest.raises(ValueError, match=r"expected 0\.\.1 exclusive"):
        open_folder(root, val_fraction=fraction)


def test_only_changed_files_are_checked_again(root, monkeypatch):
    checked = []
    check = scan._check
    monkeypatch.setattr(scan, "_check", lambda path: checked.append(path.name) or check(path))
    (root / "cat" / "bad.png").write_bytes(b"no")
    first = open_folder(root)
    assert len(checked) == 21
    assert (names(open_folder(root)), len(checked)) == (names(first), 21)
    assert open_folder(root).skipped == first.skipped
    save(root / "cat" / "bad.png")
    os.utime(root / "dog" / "05.png", ns=(0, 0))
    assert not open_folder(root).skipped
    assert sorted(checked[21:]) == ["05.png", "bad.png"]


def test_a_file_that_could_not_be_read_is_asked_again(root, monkeypatch):
    read = Path.read_bytes

    def refuse(path):
        if path.name == "03.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert set(skipped(open_folder(root)).values()) == {"cannot be read: Permission denied"}
    assert not open_folder(root).skipped


@pytest.mark.parametrize("content", ["", "{", "[]", '{"reader": "another"}', '{"files": 3}'])
def test_a_damaged_cache_is_replaced(root, cache, content):
    expected = names(open_folder(root))
    (file,) = cache.glob("zfnet_jax/scans/*.json")
    file.write_text(content)
    assert names(open_folder(root)) == expected
    assert len(json.loads(file.read_text())["files"]) == 20
    assert list(file.parent.iterdir()) == [file]


def test_no_place_for_the_cache_is_no_error(root, tmp_path, monkeypatch):
    expected = names(open_folder(root))
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert names(open_folder(root)) == expected


def test_an_interrupted_scan_goes_on(root, monkeypatch):
    checked = []
    check = scan._check

    def interrupt(path):
        if path.name == "05.png" and path.parent.name == "dog":
            raise KeyboardInterrupt
        checked.append(path)
        return check(path)

    with monkeypatch.context() as patch:
        patch.setattr(scan, "_check", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_folder(root)
    done = len(checked)
    assert done >= 15
    monkeypatch.setattr(scan, "_check", lambda path: checked.append(path) or check(path))
    assert len(open_folder(root).train) == 16
    assert len(checked) - done <= 6
