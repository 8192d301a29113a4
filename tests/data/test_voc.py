from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_files import write_voc

from zfnet_jax.data.voc import CLASSES, average_precision, open_voc
from zfnet_jax.experiments.transfer import transfer_voc


def test_a_split(tmp_path: Path):
    found = open_voc(write_voc(tmp_path / "VOC2012"), "train")
    assert found.names == tuple(f"JPEGImages/2008_{number}.jpg" for number in (1, 2, 3, 4))
    before = found.identity
    assert before == open_voc(tmp_path / "VOC2012", "train").identity
    Image.new("RGB", (50, 40)).save(tmp_path / "VOC2012" / found.names[3])
    assert found.identity != before, "repainted under the same name"
    assert found.present.shape == (4, 20)
    row = dict(zip(CLASSES, found.present[1], strict=True))
    assert (row["cat"], row["person"], row["dog"]) == (0, 1, -1)
    assert (found.present[2] == -1).all()
    assert CLASSES[found.labels[0]] == "cat"
    assert found[1].image == (tmp_path / "VOC2012/JPEGImages/2008_2.jpg").read_bytes()


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        ([1, 1, -1, -1], 1),
        ([1, -1, 1, -1, 1], (1 + 2 / 3 + 3 / 5) / 3),
        ([1, -1, 1, 0, -1, 1], (1 + 2 / 3 + 3 / 5) / 3),  # the difficult one does not count
        ([-1, 1, 1], 2 / 3),  # precision at the first is that of the second
        ([-1, -1, 1, 1, 1], 3 / 5),
        ([-1, 1], 1 / 2),
    ],
)
def test_average_precision_by_hand(ranked, expected):
    order = np.random.default_rng(0).permutation(len(ranked))
    scores = -np.arange(len(ranked), dtype=float)
    assert average_precision(scores[order], np.array(ranked)[order]) == pytest.approx(expected)


def test_average_precision_of_no_picture_and_of_ties():
    assert np.isnan(average_precision(np.zeros(3), np.array([-1, 0, -1])))
    assert average_precision(np.zeros(3), np.array([-1, 1, -1])) == 1 / 2


def test_folders_that_are_not_voc(tmp_path: Path):
    with pytest.raises(ValueError, match="expected the folder VOC2012 as distributed"):
        open_voc(tmp_path, "train")
    root = write_voc(tmp_path / "VOC2012")
    (root / "JPEGImages/2009_2.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 pictures of val are missing, such as JPEG"):
        open_voc(root, "val")
    path = root / "ImageSets/Main/bird_train.txt"
    for text, message in (
        ("2008_1 -1\n2008_2 2\n", "line 2: '2008_2 2', expected PICTURE -1, 0 or 1"),
        ("2008_1 -1\n2008_1 -1\n", "line 2"),
        ("", "expected at least one picture"),
        (
            "2008_2 -1\n2008_1 -1\n2008_3 1\n2008_4 1\n",
            "expected the pictures of aeroplane_train.txt",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as raised:
            open_voc(root, "train")
        assert "bird_train.txt" in str(raised.value)


def test_each_class_of_a_picture_trains(tmp_path: Path):
    train, val = (open_voc(write_voc(tmp_path / name), name) for name in ("train", "val"))
    cat, dog, person = (np.eye(20)[CLASSES.index(name)] for name in ("cat", "dog", "person"))
    found = transfer_voc(
        np.stack([cat + dog, person, 0 * cat, cat]), np.stack([dog, cat]), train, val, c=10.0
    )
    assert found["c"] == 10
    precisions = found["average_precision"]
    assert precisions["cat"] == 1
    assert precisions["dog"] == 1  # the other is difficult, and does not count
    assert precisions["person"] is None
