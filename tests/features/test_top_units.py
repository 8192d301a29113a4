"""Mining and projecting a data set, against the whole-image functions they are made of."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case

from zfnet_jax.core import signals
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import Preprocessing, centre_view
from zfnet_jax.data.source import Example
from zfnet_jax.features import image_set_mining, top_units, unit_pixels
from zfnet_jax.features.mining import NO_IMAGE, LayerStatistics
from zfnet_jax.features.unit_pixels import OUTSIDE
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.units import Units

IMAGES, K, FRAME = 19, 3, 37
LAYERS = ("conv1", "conv3", "fc5")


@dataclass(frozen=True)
class Noise:
    """Random pictures; from `gone` on they cannot be read."""

    gone: int = IMAGES
    class_names: tuple[str, ...] = ("even", "odd")
    names: tuple[str, ...] = tuple(f"{number}.png" for number in range(IMAGES))
    identity: str = "noise"

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> Example:
        if index >= self.gone:
            raise FileNotFoundError(2, "No such file or directory", f"{index}.png")
        image = np.random.default_rng(index).integers(0, 256, (FRAME, FRAME, 3), np.uint8)
        return Example(image, index % 2, f"{index}.png")


@pytest.fixture
def net(tiny: Case) -> Net:
    mean = np.full((1, 1, 3), 127.5, np.float32)
    names = tuple(map(str, range(CLASSES)))
    return Net(TINY, tiny.params, Preprocessing(FRAME, mean), names, 5)


@pytest.fixture
def frames() -> ImageSet:
    return ImageSet.of(Noise(), FRAME, cache_gib=0)


@pytest.fixture
def mined(net: Net, frames: ImageSet) -> dict[str, LayerStatistics]:
    return image_set_mining.mine_image_set(net, frames, LAYERS, K, batch_size=8)


def views(net: Net, frames: ImageSet) -> np.ndarray:
    batch = frames.batch(np.arange(IMAGES))
    return centre_view(np.asarray(net.preprocessing.apply(jnp.asarray(batch.frames))), 32)


def test_the_tables_are_those_of_all_activations(tiny: Case, net: Net, frames: ImageSet, mined):
    _, trace = tiny.model.apply({"params": net.params}, views(net, frames))
    for layer in LAYERS:
        maps = np.asarray(trace.activations[layer]).reshape(
            IMAGES, -1, mined[layer].top.value.shape[0]
        )
        expected = -np.sort(-maps.max(axis=1), axis=0)[:K].T
        np.testing.assert_allclose(mined[layer].top.value, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(mined[layer].histogram.sum(axis=1), IMAGES)
        np.testing.assert_array_equal(mined[layer].top.label, mined[layer].top.image % 2)


def test_projections_are_those_of_the_whole_images(
    tiny: Case, net: Net, frames: ImageSet, mined, tmp_path: Path
):
    chosen = top_units.responding_units(net, mined)
    files = unit_pixels.project_units_to_files(net, frames, chosen, tmp_path)
    _, trace = tiny.model.apply({"params": net.params}, views(net, frames))
    for layer, (maps, top) in chosen.items():
        stored = np.load(files[layer].path)
        assert stored.shape[:2] == (len(maps), K)
        for each, place in np.argwhere(top.image != NO_IMAGE):
            units = Units(
                *(np.array([column[each, place]]) for column in top[1:4]),
                maps[[each]],
                top.value[each, [place]],
            )
            if TINY.is_spatial(layer):
                expected, _ = deconvnet.project_units(TINY, net.params, trace, layer, units)
            else:
                seed = np.zeros((IMAGES, CLASSES), np.float32)
                seed[units.image[0], units.map[0]] = units.value[0]
                pixels = deconvnet.project(TINY, net.params, trace, layer, jnp.asarray(seed))
                expected = pixels[units.image[0]][None]
            scale = float(jnp.abs(expected).max())
            np.testing.assert_allclose(stored[each, place], expected[0], atol=1e-5 * scale)
        assert not stored[top.image == NO_IMAGE].any()


def test_a_value_that_is_not_found_again_is_refused(net: Net, frames: ImageSet, mined, tmp_path):
    chosen = top_units.responding_units(net, mined)
    chosen["conv3"].top.value[2, 1] *= 1.001
    with pytest.raises(
        ValueError, match=r"^conv3 map 2, image \d+: mining found .* \(1 of \d+ units"
    ):
        unit_pixels.project_units_to_files(net, frames, chosen, tmp_path)


@pytest.mark.parametrize("control", ["random-weights", "shuffled-switches", "wrong-unit"])
def test_a_control_is_another_picture(net: Net, frames: ImageSet, mined, tmp_path: Path, control):
    chosen = top_units.responding_units(net, {"conv3": mined["conv3"]})
    for name in ("itself", "control"):
        (tmp_path / name).mkdir()
    itself = unit_pixels.project_units_to_files(net, frames, chosen, tmp_path / "itself")
    other = unit_pixels.project_units_to_files(
        net, frames, chosen, tmp_path / "control", control=control
    )
    one, two = (np.load(files["conv3"].path) for files in (itself, other))
    filled = chosen["conv3"].top.image != NO_IMAGE
    for a, b in zip(one[filled], two[filled], strict=True):
        assert b.any()
        assert np.dot(a.ravel(), b.ravel()) < 0.9 * np.linalg.norm(a) * np.linalg.norm(b)


def test_patches_are_the_pictures_own_pixels(net: Net, frames: ImageSet, mined, tmp_path: Path):
    chosen, seen = top_units.responding_units(net, mined), {}
    files = unit_pixels.cut_patches_to_files(net, frames, chosen, tmp_path, seen.__setitem__)
    assert sorted(seen) == top_units.image_numbers(chosen).tolist()
    for layer, (_, top) in chosen.items():
        stored = np.load(files[layer].path)
        for each, place in np.argwhere(top.image != NO_IMAGE):
            image, row, col = (int(column[each, place]) for column in top[1:4])
            whole = centre_view(Noise()[image].image[None], 32)[0]
            np.testing.assert_array_equal(seen[image], whole)
            wide = np.pad(whole, ((40, 40), (40, 40), (0, 0)), constant_values=OUTSIDE)
            y, x, high, width = top_units.unit_box(TINY, layer, row, col)
            expected = wide[40 + y : 40 + y + high, 40 + x : 40 + x + width]
            np.testing.assert_array_equal(stored[each, place], expected)


@pytest.mark.parametrize("save_every", [1, 50])
def test_a_pass_that_was_stopped_goes_on(
    net: Net, frames: ImageSet, mined, tmp_path: Path, monkeypatch, save_every: int
):
    monkeypatch.setattr(image_set_mining, "SAVE_EVERY", save_every)
    progress = tmp_path / "mining.npz"

    def mine() -> dict[str, LayerStatistics]:
        return image_set_mining.mine_image_set(
            net, frames, LAYERS, K, batch_size=8, progress=progress
        )

    batches = image_set_mining.numbered_batches

    def interrupted(*args: Any, **options: Any) -> Iterator[Any]:
        for number, batch in enumerate(batches(*args, **options)):
            if number == 1:  # of three: the last ones are no less stopped than the others
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch, signals.watched():
        patch.setattr(image_set_mining, "numbered_batches", interrupted)
        with pytest.raises(signals.Stopped) as stop:
            mine()
    assert stop.value.saved
    with np.load(progress) as file:
        assert file["position"] == 16
    found = mine()
    for layer in LAYERS:
        for one, other in zip(found[layer].top, mined[layer].top, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(found[layer].histogram, mined[layer].histogram)


def test_with_another_choice_of_layers_it_begins_anew(
    capsys, net: Net, frames: ImageSet, tmp_path: Path
):
    progress = tmp_path / "mining.npz"
    for layer in ("conv1", "conv2"):
        found = image_set_mining.mine_image_set(net, frames, (layer,), K, progress=progress)
        assert list(found) == [layer]
    assert capsys.readouterr().err == (
        f'warning: layers[0] "conv2": {progress} was started with "conv1"; expected the same; '
        "mining begins anew\n"
    )
