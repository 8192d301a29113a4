from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zfnet_jax.data.labels import Label, known_labels
from zfnet_jax.data.pictures import open_pictures

NAMES = ("boat", "fish", "tree")


@pytest.fixture
def photos(tmp_path):
    for name in ("fish/0.png", "unknown/1.png", "tree/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return open_pictures([tmp_path])[0]


def test_a_folder_is_a_class_where_the_net_has_it(photos):
    assert [Path(photos[item].name).name for item in range(3)] == ["0.png", "2.png", "1.png"]
    found = known_labels(NAMES, photos, range(3))
    assert found == [Label(1, "folder"), Label(2, "folder"), None]
    assert known_labels(NAMES, photos, np.array([1])) == [Label(2, "folder")]


def test_other_spellings_of_a_class_are_that_class(photos):
    names = ("Boat", "FISH ", "Tree")
    labels = known_labels(names, photos, range(3))
    assert labels == [Label(1, "folder"), Label(2, "folder"), None]
    assert known_labels(names, photos, [0], ["boat"]) == [Label(0, "option")]


def test_what_is_given_is_taken(photos):
    assert known_labels(NAMES, photos, range(3), ["boat"]) == [Label(0, "option")] * 3
    found = known_labels(NAMES, photos, range(3), ["tree", "fish", "boat"])
    assert [label.number for label in found] == [2, 1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["fisch"], "--labels fisch: expected one of the net's 3 classes, such as fish"),
        (["fish", "tree"], "--labels fish tree: expected one class, or one for each of 3 pictures"),
    ],
)
def test_wrong_classes_are_refused(photos, given, message):
    with pytest.raises(ValueError, match=message):
        known_labels(NAMES, photos, range(3), given)
