import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case

from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.features.projection import project_all
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.units import Units

ITEMS = np.array([2, 40, 41])
"""The numbers that the tiny case's three images have in the data set."""


@pytest.fixture(scope="module")
def net(tiny: Case) -> Net:
    preprocessing = Preprocessing(frame=37, mean=np.zeros((1, 1, 3), np.float32))
    names = tuple(map(str, range(CLASSES)))
    return Net(TINY, tiny.params, preprocessing, names, step=0)


class Reader:
    """Reads the tiny case's images and keeps the numbers it was asked for."""

    def __init__(self, case: Case) -> None:
        self.images, self.asked = case.images, []

    def __call__(self, items: np.ndarray) -> jax.Array:
        self.asked.append(items.tolist())
        return self.images[np.searchsorted(ITEMS, items)]


def units_of(layer: str, count: int) -> Units:
    """Random units in random order, so that each image has some of every layer."""
    rng = np.random.default_rng(len(layer) + count)
    rows, cols, maps = TINY.shapes(CLASSES)[layer] if TINY.is_spatial(layer) else (1, 1, 7)
    return Units(
        image=rng.permutation(np.resize(ITEMS, count)),
        row=rng.integers(0, rows, count),
        col=rng.integers(0, cols, count),
        map=rng.integers(0, maps, count),
        value=rng.uniform(0.5, 2, count).astype(np.float32),
    )


def gathered(parts, wanted: dict[str, Units]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All patches and values by layer, in the order of the units; each must come once."""
    parts = list(parts)
    found = {}
    for layer, units in wanted.items():
        ours = [part for part in parts if part.layer == layer]
        positions = np.concatenate([part.positions for part in ours])
        np.testing.assert_array_equal(np.sort(positions), np.arange(len(units.image)))
        order = np.argsort(positions)
        patches, values = (
            np.concatenate([getattr(part, name) for part in ours])[order]
            for name in ("patches", "values")
        )
        found[layer] = patches, values
    return found


def expected(case: Case, layer: str, units: Units, **options) -> tuple[np.ndarray, np.ndarray]:
    """The same one by one: `project_units`, or `project` from a seed that is zero but for one."""
    patches, values = [], []
    maps = case.trace.activations[layer]
    for item, row, col, feature, value in zip(*units, strict=True):
        image = int(np.searchsorted(ITEMS, item))
        if TINY.is_spatial(layer):
            one = Units(*(np.array([x]) for x in (image, row, col, feature)), np.float32([value]))
            patch, _ = deconvnet.project_units(TINY, case.params, case.trace, layer, one, **options)
            patches.append(patch[0])
            values.append(maps[image, row, col, feature])
        else:
            seed = jnp.zeros_like(maps).at[image, feature].set(value)
            whole = deconvnet.project(TINY, case.params, case.trace, layer, seed, **options)
            patches.append(whole[image])
            values.append(maps[image, feature])
    return np.stack(patches), np.stack(values)


@pytest.mark.parametrize(
    ("layers", "options"),
    [
        (("conv1", "pool3", "fc4", "fc5"), {}),
        (("pool3", "fc5"), {"rectify": "mask", "norm": "gradient"}),
    ],
)
def test_every_unit_is_what_it_is_alone(tiny: Case, net: Net, layers, options):
    wanted = {layer: units_of(layer, 7) for layer in layers}
    parts = project_all(
        net,
        Reader(tiny),
        wanted,
        images_per_group=2,
        units_per_chunk=3,
        options=deconvnet.Options(**options),
    )
    found = gathered(parts, wanted)
    for layer, units in wanted.items():
        patches, values = expected(tiny, layer, units, **options)
        assert np.any(patches)
        assert loops.relative(found[layer][0], patches) <= 1e-6
        np.testing.assert_allclose(found[layer][1], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("group", [1, 2, 50])
def test_groups_and_order_do_not_matter_and_each_image_goes_up_once(tiny: Case, net: Net, group):
    units = units_of("conv3", 11)
    reader = Reader(tiny)
    parts = project_all(net, reader, {"conv3": units}, images_per_group=group, units_per_chunk=4)
    patches, values = gathered(parts, {"conv3": units})["conv3"]
    assert sorted({item for asked in reader.asked for item in asked}) == ITEMS.tolist()
    assert len(reader.asked) == -(-len(ITEMS) // min(group, len(ITEMS)))

    turned = Units(*(column[::-1] for column in units))
    parts = project_all(net, Reader(tiny), {"conv3": turned}, units_per_chunk=4)
    again, values_again = gathered(parts, {"conv3": turned})["conv3"]
    assert loops.relative(again[::-1], patches) <= 1e-6
    np.testing.assert_allclose(values_again[::-1], values, rtol=1e-5, atol=1e-6)


def test_only_images_with_a_unit_are_read(tiny: Case, net: Net):
    units = units_of("conv2", 6)._replace(image=np.full(6, 40))
    reader = Reader(tiny)
    parts = list(project_all(net, reader, {"conv2": units}, units_per_chunk=4))
    assert reader.asked == [[40]]
    assert [len(part.patches) for part in parts] == [4, 2]  # what fills the last chunk is not given


def test_a_layer_without_units(tiny: Case, net: Net):
    none = Units(*(column[:0] for column in units_of("conv1", 3)))
    wanted = {"conv1": none, "conv2": units_of("conv2", 3)}
    assert {part.layer for part in project_all(net, Reader(tiny), wanted)} == {"conv2"}
    assert not list(project_all(net, Reader(tiny), {"conv1": none}))


def test_an_altered_trace_changes_the_pictures_and_not_the_values(tiny: Case, net: Net):
    units = units_of("conv3", 5)
    first = lambda trace: trace._replace(
        switches={name: jnp.zeros_like(each) for name, each in trace.switches.items()}
    )
    plain, altered = (
        gathered(project_all(net, Reader(tiny), {"conv3": units}, alter=alter), {"conv3": units})
        for alter in (None, first)
    )
    assert loops.relative(altered["conv3"][0], plain["conv3"][0]) > 0.1
    np.testing.assert_array_equal(altered["conv3"][1], plain["conv3"][1])


def test_unknown_layers_are_refused(tiny: Case, net: Net):
    with pytest.raises(ValueError, match="'conv9': expected one of conv1"):
        next(project_all(net, Reader(tiny), {"conv9": units_of("conv1", 1)}))
