"""The pictures that commands look at: those that are named, the net's own, or photographs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, TINY, random_params
from PIL import Image

from zfnet_jax.commands.images import open_images
from zfnet_jax.config import DataConfig, TrainConfig
from zfnet_jax.data import sample_pictures
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.networks.net import Net


@pytest.fixture
def net() -> Net:
    """A net of another program, of classes cat, dog, ..."""
    names = ("cat", "dog", *(f"class {number}" for number in range(2, CLASSES)))
    params = random_params(TINY, CLASSES)
    return Net(TINY, params, Preprocessing(36, np.zeros((1, 1, 3), np.float32)), names)


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (200, 0, 0)).save(path)
    return path


def trained_on(net: Net, source: str) -> Net:
    return replace(net, config=TrainConfig(name="own", data=DataConfig(source=source)))


def test_the_photographs_are_there():
    paths = sample_pictures.sample_pictures()
    names = [path.name for path in paths]
    assert names[-1] == "grace_hopper.jpg", "it comes with Matplotlib, which is a dependency"
    assert set(names[:-1]) <= {"astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"}


@pytest.mark.parametrize("source", [None, "folder:absent", "tfds:absent@nowhere"])
def test_photographs_stand_in_for_pictures_that_are_not_here(net, source, capsys):
    opened = open_images(trained_on(net, source) if source else net, [])
    assert "grace_hopper.jpg" in opened.source.names[-1]
    first, second = capsys.readouterr().out.splitlines()
    assert f"{len(opened.source)} photographs that come with Python packages are taken" in first
    assert "--images FILE_OR_FOLDER takes yours" in first
    assert (source is None) or f"({source})" in first
    assert "the classes that it sees in them may not fit" in second


def test_without_photographs_the_option_is_named(net, monkeypatch):
    monkeypatch.setattr("zfnet_jax.commands.images.sample_pictures", list)
    with pytest.raises(ValueError, match="expected --images"):
        open_images(net, [])


def test_the_nets_own_pictures_come_first(net, capsys):
    opened = open_images(trained_on(net, "shapes"), [])
    assert opened.origin == "shapes, validation"
    assert capsys.readouterr().out == ""


def test_an_own_folder_that_cannot_be_used_is_an_error(net, tmp_path):
    with pytest.raises(ValueError, match="no readable pictures"):
        open_images(trained_on(net, f"folder:{tmp_path}"), [])


@pytest.mark.parametrize(
    ("folders", "labels", "fits"),
    [
        (["cat"], [], True),
        (["photos", "Dog "], [], True),
        (["photos"], ["cat"], True),
        (["photos", "birds"], [], False),
    ],
)
def test_it_is_said_where_no_picture_is_of_a_class_of_the_net(
    net, tmp_path, capsys, folders, labels, fits
):
    paths = [save(tmp_path / folder / "a.png") for folder in folders]
    opened = open_images(net, paths, labels)
    assert opened.source.names == tuple(map(str, paths))
    out = capsys.readouterr().out
    assert ("the classes that it sees in them may not fit" in out) != fits
    assert out.count("\n") == (not fits)
