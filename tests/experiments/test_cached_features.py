import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import TINY, random_params
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.decode import decode
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.source import Example
from zfnet_jax.experiments.features import averaging, blocks, compute, numbers, reading
from zfnet_jax.experiments.labelled_images import LabelledImages
from zfnet_jax.networks.function import network_of_raw
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import ALEXNET, ZFNET

FRAME = 37
SOURCE = Shapes("val", 21, seed=0)


def make_net(seed: int = 0) -> Net:
    arch, names = TINY, SOURCE.class_names
    mean = np.random.default_rng(seed).uniform(90, 160, (FRAME, FRAME, 3)).astype(np.float32)
    params = random_params(arch, len(names), seed)
    config = TrainConfig(architecture=arch)
    return Net(
        config.architecture, params, Preprocessing(FRAME, mean, 0.02), names, step=1, config=config
    )


class Counting:
    """A source that counts how often it is read, and may have lost a picture."""

    def __init__(self, gone: int | None = None) -> None:
        self.class_names, self.labels = SOURCE.class_names, SOURCE.labels
        self.names, self.identity = SOURCE.names, SOURCE.identity
        self.gone, self.read = gone, 0

    def __len__(self) -> int:
        return len(SOURCE)

    def __getitem__(self, index: int) -> Example:
        self.read += 1
        if index == self.gone:
            raise OSError(f"picture {index} is gone")
        return SOURCE[index]


def test_a_layers_block():
    assert blocks(ZFNET) == {
        "conv1": "norm1",
        "conv2": "norm2",
        "conv3": "conv3",
        "conv4": "conv4",
        "conv5": "pool5",
        "fc6": "fc6",
        "fc7": "fc7",
    }
    assert blocks(ALEXNET)["conv1"] == "pool1"


def test_a_layers_number_is_that_of_fig_3():
    assert list(numbers(ZFNET).values()) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(ZFNET.without("conv3", "conv4")) == {
        **{"conv1": 1, "conv2": 2, "conv5": 5},
        **{"fc6": 6, "fc7": 7},
    }
    assert numbers(TINY) == {"conv1": 1, "conv2": 2, "conv3": 3, "fc4": 4}


def test_large_maps_are_reduced_to_a_grid():
    grids = {layer: reading(ZFNET, layer) for layer in blocks(ZFNET)}
    assert grids["conv5"].grid is None
    assert grids["conv5"].values == 9216
    assert grids["fc7"].values == 4096
    assert (grids["conv1"].grid, grids["conv1"].values) == ((9, 9), 7776)
    assert (grids["conv3"].grid, grids["conv3"].values) == ((4, 4), 6144)
    assert reading(ZFNET, "conv1", 96).grid == (1, 1)
    for layer, most in (("conv1", 95), ("fc6", 4095)):
        with pytest.raises(ValueError, match=f"{most} values a picture: expected at least"):
            reading(ZFNET, layer, most)
    for layer in ("conv9", "fc8", "pool1"):
        with pytest.raises(ValueError, match=f"layer '{layer}': expected one of conv1, conv2"):
            reading(ZFNET, layer)


@given(size=st.integers(1, 40), cells=st.integers(1, 40))
def test_averages(size, cells):
    cells = min(cells, size)
    matrix = averaging(size, cells)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    assert (matrix > 0).any(axis=0).all()  # no pixel is lost
    if size % cells == 0:
        row = np.random.default_rng(size).normal(size=size)
        means = row.reshape(cells, -1).mean(axis=1)
        np.testing.assert_allclose(matrix @ row, means, rtol=1e-5, atol=1e-6)


def test_cells_that_overlap():
    np.testing.assert_allclose(averaging(5, 2), np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]) / 3)


def test_features_are_those_of_the_net(tmp_path: Path):
    net, images = make_net(), LabelledImages.of(Counting())
    readings = [reading(TINY, layer, 30) for layer in ("conv1", "conv3")] + [reading(TINY, "fc4")]
    found = compute(net, images, readings, tmp_path, batch_size=8)
    raw = np.stack([decode(SOURCE[item].image, FRAME) for item in range(len(SOURCE))])
    _, activations = jax.jit(network_of_raw(net))(raw)
    np.testing.assert_allclose(found["fc4"], activations["fc4"], rtol=1e-4, atol=1e-5)
    maps = np.asarray(activations["norm1"])  # 14 x 14 x 6 over 2 x 2 cells
    cells = maps.reshape(len(raw), 2, 7, 2, 7, 6).mean(axis=(2, 4))
    np.testing.assert_allclose(found["conv1"], cells.reshape(len(raw), -1), rtol=1e-4, atol=1e-5)
    maps = np.asarray(activations["pool3"])  # 4 x 4 x 7 over 2 x 2 cells
    cells = maps.reshape(len(raw), 2, 2, 2, 2, 7).mean(axis=(2, 4))
    np.testing.assert_allclose(found["conv3"], cells.reshape(len(raw), -1), rtol=1e-4, atol=1e-5)


def test_the_cache(tmp_path: Path, capsys):
    net, source, readings = make_net(), Counting(), [reading(TINY, "fc4")]
    first = compute(net, LabelledImages.of(source), readings, tmp_path)["fc4"]
    assert isinstance(first, np.memmap)
    kept, read = np.array(first), source.read
    assert read >= len(SOURCE)
    # Kept; beside another layer only that one is computed.
    again = compute(net, LabelledImages.of(source), [*readings, reading(TINY, "conv2")], tmp_path)
    np.testing.assert_array_equal(again["fc4"], kept)
    assert read < source.read <= read + 2 * len(SOURCE)
    assert capsys.readouterr().out == ""
    read = source.read
    compute(net, LabelledImages.of(source), readings, tmp_path)
    assert source.read == read

    # Of another net, of other pictures or of another mean: computed anew, and said.
    other = make_net(seed=1)
    mean = replace(net, preprocessing=replace(net.preprocessing, scale=0.03))
    fewer = LabelledImages.of(source).take(np.arange(15))
    for changed, images in (
        (other, LabelledImages.of(source)),
        (mean, LabelledImages.of(source)),
        (net, fewer),
    ):
        found = compute(changed, images, readings, tmp_path)["fc4"]
        assert f"{tmp_path / 'fc4'}: features of another net" in capsys.readouterr().out
        assert len(found) == len(images)
    np.testing.assert_allclose(found, kept[:15], rtol=1e-4, atol=1e-5)


def test_a_pass_that_was_stopped_goes_on(tmp_path: Path):
    """Even over features of another net, which are there until the new ones are whole."""
    net, readings = make_net(), [reading(TINY, "fc4"), reading(TINY, "conv3")]
    whole = compute(net, LabelledImages.of(Counting()), readings, tmp_path / "whole", batch_size=8)
    place = tmp_path / "stopped"
    compute(make_net(1), LabelledImages.of(Counting()), readings, place)
    with pytest.raises(OSError, match="is gone"):
        compute(net, LabelledImages.of(Counting(gone=19)), readings, place, batch_size=8)
    assert (place / "fc4").exists()
    source = Counting()
    found = compute(net, LabelledImages.of(source), readings, place, batch_size=8)
    assert source.read < len(SOURCE)
    for layer in ("fc4", "conv3"):
        np.testing.assert_array_equal(found[layer], whole[layer])
    assert sorted(path.name for path in place.iterdir()) == ["conv3", "fc4", "lock"]


def test_a_stopped_pass_of_another_net_or_layer_is_not_gone_on_with(tmp_path: Path):
    net, readings = make_net(), [reading(TINY, "fc4")]
    for other, theirs in ((make_net(1), readings), (net, [reading(TINY, "conv3")])):
        with pytest.raises(OSError, match="is gone"):
            compute(other, LabelledImages.of(Counting(gone=19)), theirs, tmp_path, batch_size=8)
        source = Counting()
        found = compute(net, LabelledImages.of(source), readings, tmp_path, batch_size=8)
        expected = compute(
            net, LabelledImages.of(Counting()), readings, tmp_path / "fresh", batch_size=8
        )
        np.testing.assert_array_equal(found["fc4"], expected["fc4"])
        assert source.read >= len(SOURCE)
        shutil.rmtree(tmp_path / "fc4")


def test_a_pass_that_fails_leaves_what_was_there(tmp_path: Path):
    net, readings = make_net(), [reading(TINY, "fc4")]
    kept = np.array(compute(net, LabelledImages.of(Counting()), readings, tmp_path)["fc4"])
    with pytest.raises(OSError, match="is gone"):
        compute(make_net(1), LabelledImages.of(Counting(gone=5)), readings, tmp_path, batch_size=8)
    source = Counting()
    again = compute(net, LabelledImages.of(source), readings, tmp_path)["fc4"]
    np.testing.assert_array_equal(again, kept)
    assert source.read == 0
