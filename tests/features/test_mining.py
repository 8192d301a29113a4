import itertools
import weakref
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import Zfnet, coordinator_address
from conftest import Case
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from zfnet_jax.core import devices
from zfnet_jax.features import mining
from zfnet_jax.features.mining import (
    EDGES,
    NO_IMAGE,
    LayerStatistics,
    Top,
    batch_statistics,
    merge,
    mine,
    only_positive,
    top_units,
)
from zfnet_jax.zfnet.model import forward
from zfnet_jax.zfnet.units import Units

pytest_plugins = ["tiny_runs"]

ROWS, COLS, MAPS = 3, 4, 5
BINS = len(EDGES) + 1


def brute_force(
    maps: np.ndarray, numbers: np.ndarray, labels: np.ndarray, k: int
) -> LayerStatistics:
    """Every map's best position of every image, sorted and counted, by loops."""
    tops, histogram = [], np.zeros((maps.shape[-1], BINS), np.int32)
    for each in range(maps.shape[-1]):
        found = []
        for one, number, label in zip(maps, numbers, labels, strict=True):
            if number >= 0:
                plane = one[..., each] if one.ndim == 3 else one[None, None, each]
                row, col = max(
                    ((r, c) for r in range(plane.shape[0]) for c in range(plane.shape[1])),
                    key=lambda place: (plane[place], -place[0], -place[1]),
                )
                found.append((-plane[row, col], number, row, col, label))
                histogram[each, sum(plane[row, col] > edge for edge in EDGES)] += 1
        tops.append(sorted(found)[:k] + [(np.inf, NO_IMAGE, 0, 0, -1)] * (k - len(found)))
    negative, *rest = np.array(tops).transpose(2, 0, 1)
    return LayerStatistics(Top(np.float32(-negative), *np.int32(rest)), histogram)


def tied(count: int, seed: int, *shape: int) -> np.ndarray:
    """Random activations of few values, so that there are many ties."""
    return np.random.default_rng(seed).integers(-1, 3, (count, *shape)).astype(np.float32)


def labels_of(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers % 3 == 0, -1, numbers % 7)


def assert_same(found: object, expected: object) -> None:
    """Every number of two tables, empty places and all."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (where, one), other in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=jax.tree_util.keystr(where))


def batches(maps: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of the images 0, 1, ..., the last filled up with rows of number -1."""
    for start in range(0, len(maps), size):
        places = np.arange(start, start + size)
        numbers = np.where(places < len(maps), places, -1)
        yield maps[places.clip(max=len(maps) - 1)], numbers, labels_of(numbers)


def as_they_are(images: jax.Array) -> tuple[None, dict[str, jax.Array]]:
    """A network whose layers are its input and every map's mean."""
    return None, {"same": images, "mean": images.mean((1, 2))}


# One batch


@pytest.mark.parametrize("shape", [(ROWS, COLS, MAPS), (MAPS,)])
@pytest.mark.parametrize(("count", "k"), [(1, 1), (7, 3), (7, 7), (3, 9), (20, 9)])
def test_find_against_brute_force(shape, count, k):
    maps = tied(count, 0, *shape)
    numbers = np.random.default_rng(1).permutation(count + 3)[:count] - 1  # one may fill the batch
    labels = labels_of(numbers)
    found = jax.jit(batch_statistics, static_argnames="k")(
        maps, jnp.int32(numbers), jnp.int32(labels), k=k
    )
    assert_same(found, brute_force(maps, numbers, labels, k))


def test_by_hand():
    maps = np.zeros((3, 2, 2, 1), np.float32)
    maps[0, 1, 0, 0] = 2
    maps[1, :, 1, 0] = 5  # twice: the first in row-major order
    maps[2, 0, 0, 0] = 2  # as strong as image 40: the lower number first
    top, histogram = batch_statistics(
        jnp.asarray(maps), jnp.array([40, 7, 12]), jnp.array([1, 2, -1]), k=4
    )
    assert top.value.tolist() == [[5, 2, 2, -np.inf]]
    assert top.image.tolist() == [[7, 12, 40, NO_IMAGE]]
    assert top.row.tolist() == [[0, 0, 1, 0]]
    assert top.col.tolist() == [[1, 0, 0, 0]]
    assert top.label.tolist() == [[2, -1, 1, -1]]
    (bins,) = np.nonzero(histogram[0])
    assert EDGES[bins].tolist() == [2, np.float32(2**2.5)]  # the upper edges of 2 and 5
    assert histogram[0, bins].tolist() == [2, 1]


def test_rows_that_fill_the_batch_count_nowhere():
    maps = np.full((4, ROWS, COLS, MAPS), 9, np.float32)
    maps[0] = -5
    maps[1] = np.nan
    top, histogram = batch_statistics(
        jnp.asarray(maps), jnp.array([3, -1, -1, -1]), jnp.arange(4), k=2
    )
    assert (top.value == np.array([-5, -np.inf])).all()
    assert (top.image == np.array([3, NO_IMAGE])).all()
    assert (top.label == np.array([0, -1])).all()
    assert (histogram == (np.arange(BINS) == 0)).all()


def test_half_precision_is_kept_exact():
    maps = jnp.asarray([[1.0], [1.0078125]], jnp.bfloat16)
    top, _ = batch_statistics(maps, jnp.arange(2), jnp.arange(2), k=2)
    assert top.value.tolist() == [[1.0078125, 1.0]]


def test_what_is_not_a_number_comes_first():
    maps = np.zeros((3, 2, 2, 1), np.float32)
    maps[1, 1, 0] = np.nan
    maps[2, 0, 1] = np.inf
    top, _ = batch_statistics(jnp.asarray(maps), jnp.array([4, 5, 6]), jnp.zeros(3, int), k=3)
    assert top.image.tolist() == [[5, 6, 4]]
    assert (top.row[0, 0], top.col[0, 0]) == (1, 0)
    np.testing.assert_array_equal(top.value, [[np.nan, np.inf, 0]])


def test_only_positive():
    images, labels = jnp.arange(3), jnp.arange(3)
    top = batch_statistics(
        jnp.array([[0.0, 3.0], [2.0, -1.0], [1.0, -2.0]]), images, labels, k=3
    ).top
    kept = only_positive(top)
    assert kept.value.tolist() == [[2, 1, -np.inf], [3, -np.inf, -np.inf]]
    assert kept.image.tolist() == [[1, 2, NO_IMAGE], [0, NO_IMAGE, NO_IMAGE]]
    assert kept.label.tolist() == [[1, 2, -1], [0, -1, -1]]
    assert [column.dtype for column in kept] == [column.dtype for column in top]


# Histograms


def test_the_bins_are_half_octaves_between_a_thousandth_and_a_million():
    """A bin of its own for what does not respond, and two for each doubling of a response."""
    responses = np.geomspace(1e-3, 1e6, 200).astype(np.float32)
    maps = jnp.asarray(np.concatenate([[-1, 0], responses])[:, None])
    numbers = jnp.arange(len(maps))
    histogram = np.asarray(batch_statistics(maps, numbers, numbers, k=1).histogram)[0]
    assert histogram[0] == 2
    filled = np.flatnonzero(histogram[1:]) + 1
    assert filled[-1] < BINS - 1  # the last is for what is above the scale
    assert len(filled) == pytest.approx(2 * np.log2(1e9), abs=1)
    assert histogram[filled[1:-1]].max() <= histogram[filled[1:-1]].min() + 1


def test_which_bin():
    def bin_of(value: float) -> int:
        maps = jnp.full((1, 1), value, jnp.float32)
        histogram = np.asarray(batch_statistics(maps, jnp.arange(1), jnp.arange(1), k=1).histogram)
        assert histogram.sum() == 1
        return int(histogram[0].argmax())

    assert [bin_of(value) for value in (-np.inf, -1, 0, 1e-9)] == [0, 0, 0, 1]
    for edge in (1, 20, BINS - 2):
        assert bin_of(EDGES[edge]) == edge
        assert bin_of(np.nextafter(EDGES[edge], np.float32(np.inf))) == edge + 1
    assert bin_of(np.inf) == BINS - 1


# From the tables to a projection

TOP = Top(
    value=np.float32([[5, 4, 0], [9, -np.inf, -np.inf], [7, 6, 2]]),
    image=np.int32([[40, 7, 3], [7, NO_IMAGE, NO_IMAGE], [99, 40, 7]]),
    row=np.int32([[1, 2, 3], [4, 0, 0], [5, 6, 7]]),
    col=np.int32([[0, 1, 0], [1, 0, 0], [0, 1, 0]]),
    label=np.zeros((3, 3), np.int32),
)


@pytest.mark.parametrize(
    ("options", "numbers", "units"),
    [
        (
            {},
            [7, 40, 99],
            [
                *((1, 1, 0, 0, 5), (0, 2, 1, 0, 4), (0, 4, 1, 1, 9)),
                *((2, 5, 0, 2, 7), (1, 6, 1, 2, 6), (0, 7, 0, 2, 2)),
            ],
        ),
        ({"map_numbers": [2, 0], "k": 1}, [40, 99], [(1, 5, 0, 2, 7), (0, 1, 0, 0, 5)]),
        ({"map_numbers": [1]}, [7], [(0, 4, 1, 1, 9)]),
    ],
)
def test_top_units_are_numbered_by_the_images_that_hold_them(options, numbers, units):
    """Without the entries that have no image, and without an activation of 0."""
    found, of_batch = top_units(LayerStatistics(TOP, None), **options)
    assert found.tolist() == numbers
    for column, expected in zip(of_batch, Units.of(units), strict=True):
        np.testing.assert_array_equal(column, expected)
        assert column.dtype == expected.dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map_numbers": [3]}, r"map 3: expected 0\.\.2"),
        ({"map_numbers": [-1]}, r"map -1: expected 0\.\.2"),
        ({"k": 4}, r"k 4: expected 1\.\.3, the images that were mined of each map"),
        ({"k": 0}, r"k 0: expected 1\.\.3"),
    ],
)
def test_top_units_that_are_not_there_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        top_units(LayerStatistics(TOP, None), **options)


# Merging

counts = st.sampled_from([1, 4])  # few sizes, since each is compiled


@given(st.integers(0, 2**32 - 1), counts, counts, counts, st.sampled_from([2, 5]))
def test_merge_is_associative_and_commutative(seed, one, two, three, k):
    numbers = np.random.default_rng(seed).permutation(one + two + three) - 1
    labels = labels_of(numbers)
    maps = tied(len(numbers), seed, 2, 2, 3)
    a, b, c = (
        batch_statistics(jnp.asarray(maps[cut]), jnp.int32(numbers[cut]), jnp.int32(labels[cut]), k)
        for cut in (slice(0, one), slice(one, one + two), slice(one + two, None))
    )
    whole = brute_force(maps, numbers, labels, k)
    assert (whole.histogram.sum(axis=1) == len(numbers) - 1).all()
    assert_same(merge(merge(a, b), c), whole)
    assert_same(merge(a, merge(b, c)), whole)
    assert_same(merge(merge(c, a), b), whole)
    assert_same(merge(c, merge(b, a)), whole)


def test_merge_with_an_empty_table():
    maps = jnp.asarray(tied(4, 0, ROWS, COLS, MAPS))
    some = batch_statistics(maps, jnp.arange(4), jnp.arange(4), k=3)
    none = batch_statistics(maps, jnp.full(4, -1), jnp.arange(4), k=3)
    assert_same(merge(some, none), some)
    assert_same(merge(none, some), some)


# A data set


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([8, 40]),
    st.sampled_from([1, 30]),
    st.randoms(use_true_random=False),
)
def test_neither_batches_nor_their_order_matter(seed, size, k, random):
    maps = tied(23, seed, ROWS, COLS, MAPS)
    parts = list(batches(maps, size))
    random.shuffle(parts)
    found = mine(as_they_are, parts, ["same"], k)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    numbers = np.arange(23)
    assert_same(found, {"same": brute_force(maps, numbers, labels_of(numbers), k)})


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_number_of_devices_does_not_matter(count, monkeypatch):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("data",))
    monkeypatch.setattr(devices, "make_mesh", lambda: mesh)
    seen = []

    def function(images: jax.Array) -> tuple[None, dict[str, jax.Array]]:
        jax.debug.inspect_array_sharding(images, callback=lambda sharding: seen.append(sharding))
        return None, {"same": images}

    maps, numbers = tied(21, 4, ROWS, COLS, MAPS), np.arange(21)
    found = mine(function, batches(maps, 8), ["same"], 4)
    assert_same(found, {"same": brute_force(maps, numbers, labels_of(numbers), 4)})
    assert {len(sharding.device_set) for sharding in seen} == {count}
    assert all(sharding.shard_shape((8, 1))[0] == 8 // count for sharding in seen)


def test_every_layer_of_zfnet(tiny: Case):
    numbers, labels = np.arange(30, 38), np.arange(8)
    images = np.resize(tiny.images, (8, *tiny.images.shape[1:]))
    images[3:] *= np.linspace(0.2, 1.7, 5, dtype=np.float32)[:, None, None, None]

    def function(params, images):
        logits, trace = forward(tiny.arch, params, images)
        return logits, trace.activations

    layers = [layer.name for layer in tiny.arch]
    found = mine(Partial(function, tiny.params), [(images, numbers, labels)], layers, 3)
    assert list(found) == layers
    _, activations = jax.jit(function)(tiny.params, images)
    for name, table in found.items():
        maps = np.asarray(activations[name])
        np.testing.assert_allclose(
            table.top.value, np.sort(maps.reshape(8, -1, maps.shape[-1]).max(1).T)[:, :-4:-1], 1e-4
        )
        rest = (table.top.row, table.top.col) if maps.ndim == 4 else ()
        where = (table.top.image - 30, *rest, np.arange(maps.shape[-1])[:, None])
        np.testing.assert_allclose(table.top.value, maps[where], 1e-4)


def test_another_network():
    filters = np.random.default_rng(0).integers(-2, 3, (5, MAPS)).astype(np.float32)

    def recurrent(filters, images):
        state, layers = images, {}
        for time in range(2):
            state = jnp.tanh(state) @ filters
            layers[f"time {time}/state"] = state
            filters = filters.T @ filters
        return state.sum(), layers

    images = tied(16, 5, ROWS, COLS, 5)
    numbers = np.arange(16)
    found = mine(Partial(recurrent, filters), batches(images, 8), ["time 0/state"], 3)
    expected = brute_force(np.tanh(images) @ filters, numbers, labels_of(numbers), 3)
    top = found["time 0/state"].top
    np.testing.assert_allclose(top.value, expected.top.value, 1e-5)
    np.testing.assert_array_equal(top.image[:, 0], expected.top.image[:, 0])


def test_memory_does_not_grow_with_the_data():
    alive: list[weakref.ref[np.ndarray]] = []

    def stream() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(0, 160, 8):
            numbers = np.arange(start, start + 8)
            images = np.full((8, ROWS, COLS, MAPS), start, np.float32)
            alive.append(weakref.ref(images))
            yield images, numbers, numbers
            assert sum(each() is not None for each in alive) <= 2

    found = mine(as_they_are, stream(), ["same"], 1)
    assert (found["same"].top.image == 152).all()
    assert len(alive) == 20


# Stopping and going on


def test_a_pass_in_parts_is_one_pass(tmp_path: Path):
    maps, path = tied(70, 6, ROWS, COLS, MAPS), tmp_path / "mined.npz"
    layers = ["mean", "same"]
    traced = []

    def function(images: jax.Array) -> tuple[None, dict[str, jax.Array]]:
        traced.append(images.shape)
        return as_they_are(images)

    whole = mine(function, batches(maps, 8), layers, 4)
    first = len(traced)
    for part in range(3):
        found, done = mining.load(path, "maps") or (None, 0)
        assert done == 4 * part
        before = jax.tree.map(np.copy, found)
        parts = itertools.islice(batches(maps, 8), done, done + 4)
        after = mine(function, parts, layers, 4, state=found)
        assert_same(found, before)  # what was given is still there
        mining.save(path, after, done + 4, "maps")
    assert len(traced) <= first + 3  # once a part for the shapes, and nothing was compiled again
    saved = mining.load(path, "maps")
    assert saved is not None
    assert_same(saved[0], whole)
    assert list(saved[0]) == layers
    assert_same(mine(function, [], layers, 4, state=saved[0]), whole)  # nothing was left


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "mined.npz"
    state = mine(as_they_are, batches(tied(8, 7, ROWS, COLS, MAPS), 8), ["same"], 2)
    mining.save(path, state, 8, "net a, data b")
    assert [each.name for each in tmp_path.iterdir()] == ["mined.npz"]
    return path


def test_nothing_was_saved(tmp_path: Path):
    assert mining.load(tmp_path / "mined.npz", "") is None


def test_another_identity_is_refused(saved: Path):
    with pytest.raises(ValueError, match=r'identity "net c": .*mined\.npz was started with "net a'):
        mining.load(saved, "net c")


@pytest.mark.parametrize("kept", [0, 100, 2000, -1])
def test_a_damaged_file_is_refused(saved: Path, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"mined\.npz: damaged, expected what mining saved"):
        mining.load(saved, "net a, data b")


def test_a_flipped_bit_is_refused(saved: Path):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match=r"mined\.npz: damaged"):
        mining.load(saved, "net a, data b")


def test_a_file_of_something_else_is_refused(saved: Path):
    np.savez(saved, weights=np.arange(3))
    with pytest.raises(ValueError, match=r"mined\.npz: damaged"):
        mining.load(saved, "net a, data b")


def test_a_full_disk_leaves_what_was_there(saved: Path, monkeypatch):
    before = saved.read_bytes()
    state = mine(as_they_are, batches(tied(8, 8, ROWS, COLS, MAPS), 8), ["same"], 2)

    def full(file, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        mining.save(saved, state, 16, "net a, data b")
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# Several processes

SHARE = """
import sys
from pathlib import Path
import jax, numpy as np
from zfnet_jax.core import devices
from zfnet_jax.features import mining

path, address, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
devices.start(address, 2, number)
maps = np.load(path / "maps.npy")
mine = np.arange(number, len(maps), 2)
mined = mining.mine(lambda x: (None, {"same": x}), [(maps[mine], mine, mine % 5)], ["same"], 6)
mining.save(path / f"{number}.npz", mining.merge_processes(mined), 0, "")
"""


def test_the_process_that_is_alone_has_all():
    state = mine(as_they_are, batches(tied(8, 8, ROWS, COLS, MAPS), 8), ["same", "mean"], 2)
    assert_same(mining.merge_processes(state), state)


@pytest.mark.slow
def test_two_processes_share_the_images(zfnet: Zfnet, tmp_path: Path):
    maps, numbers = tied(32, 9, ROWS, COLS, MAPS), np.arange(32)
    np.save(tmp_path / "maps.npy", maps)
    with coordinator_address() as address:
        together = [
            zfnet.start("-c", SHARE, tmp_path, address, number, JAX_NUM_CPU_DEVICES="2")
            for number in range(2)
        ]
        try:
            said = [process.communicate(timeout=120) for process in together]
        finally:
            for process in together:
                process.kill()
    assert [process.returncode for process in together] == [0, 0], said
    for number in range(2):
        merged = mining.load(tmp_path / f"{number}.npz", "")
        assert merged is not None
        assert_same(merged[0], {"same": brute_force(maps, numbers, numbers % 5, 6)})


# Mistakes


@pytest.mark.parametrize(
    ("shape", "layer", "message"),
    [
        ((12, ROWS, COLS, MAPS), "same", "batch of 12 images: expected a multiple of 8 devices"),
        ((8, ROWS, COLS, MAPS), "conv9", "layer 'conv9': expected one of mean, same"),
        ((8, ROWS, COLS, 2, MAPS), "same", r"'same': activations of shape \(8, 3, 4, 2, 5\), exp"),
    ],
)
def test_what_cannot_be_mined(shape, layer, message):
    numbers = np.arange(shape[0])
    with pytest.raises(ValueError, match=message):
        mine(as_they_are, [(np.zeros(shape, np.float32), numbers, numbers)], [layer])


def test_a_state_of_other_tables_is_refused():
    maps = tied(8, 0, ROWS, COLS, MAPS)
    state = mine(as_they_are, batches(maps, 8), ["same"], 2)
    for layers, k in ((["same"], 3), (["mean"], 2)):
        with pytest.raises(ValueError, match=r"state of maps and k \{'same': \(5, 2\)\}: expected"):
            mine(as_they_are, batches(maps, 8), layers, k, state=state)


def test_an_activation_that_is_not_a_number():
    maps = tied(24, 0, ROWS, COLS, MAPS)
    maps[17, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="layer same, map 3, image 17: expected an activation"):
        mine(as_they_are, batches(maps, 8), ["same"])


def test_no_batches():
    with pytest.raises(ValueError, match="no batches"):
        mine(as_they_are, [], ["same"])
