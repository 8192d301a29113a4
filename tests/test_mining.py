import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.mining import NOWHERE, Top, merge, mine, top_of

ROWS, COLS, MAPS = 3, 4, 5


def brute_force(maps: np.ndarray, numbers: np.ndarray, k: int) -> Top:
    """Every map's best position of every image, sorted, by loops."""
    value, image, row, col = (
        np.zeros((maps.shape[-1], k), kind) for kind in (float, int, int, int)
    )
    for each in range(maps.shape[-1]):
        found = []
        for one, number in zip(maps, numbers, strict=True):
            if number >= 0:
                plane = one[..., each] if one.ndim == 3 else one[None, None, each]
                place = max(
                    ((r, c) for r in range(plane.shape[0]) for c in range(plane.shape[1])),
                    key=lambda place: (plane[place], -place[0], -place[1]),
                )
                found.append((-plane[place], int(number), *place))
        found = sorted(found)[:k] + [(np.inf, NOWHERE, 0, 0)] * (k - len(found))
        for place, (negative, *where) in enumerate(found):
            value[each, place] = -negative
            image[each, place], row[each, place], col[each, place] = where
    return Top(value, image, row, col)


def tied(count: int, seed: int, *shape: int) -> np.ndarray:
    """Random activations of few values, so that there are many ties."""
    return np.random.default_rng(seed).integers(-1, 3, (count, *shape)).astype(np.float32)


def assert_same(found: Top, expected: Top) -> None:
    empty = np.isneginf(expected.value)
    for name, one, other in zip(Top._fields, found, expected, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        if name in ("row", "col"):  # an empty place has none
            one, other = np.where(empty, 0, one), np.where(empty, 0, other)
        np.testing.assert_array_equal(one, other, err_msg=name)


def batches(maps: np.ndarray, size: int):
    """Batches with numbers, the last filled up with rows of number -1."""
    for start in range(0, len(maps), size):
        places = np.arange(start, start + size)
        yield (
            jnp.asarray(maps[places.clip(max=len(maps) - 1)]),
            np.where(places < len(maps), places, -1),
        )


@pytest.mark.parametrize("shape", [(ROWS, COLS, MAPS), (MAPS,)])
@pytest.mark.parametrize(("count", "k"), [(1, 1), (7, 3), (7, 7), (3, 9), (20, 9)])
def test_top_of_against_brute_force(shape, count, k):
    maps = tied(count, 0, *shape)
    numbers = np.random.default_rng(1).permutation(count + 3)[:count] - 1  # one may be padding
    found = jax.jit(top_of, static_argnames="k")(maps, jnp.int32(numbers), k=k)
    assert_same(found, brute_force(maps, numbers, k))
    assert found.value.dtype == np.float32
    assert all(column.dtype == np.int32 for column in found[1:])


def test_by_hand():
    maps = np.zeros((3, 2, 2, 1), np.float32)
    maps[0, 1, 0, 0] = 2
    maps[1, :, 1, 0] = 5  # twice: the first in row-major order
    maps[2, 0, 0, 0] = 2  # as strong as image 40: the lower number first
    top = top_of(jnp.asarray(maps), jnp.array([40, 7, 12]), k=4)
    assert top.value.tolist() == [[5, 2, 2, -np.inf]]
    assert top.image.tolist() == [[7, 12, 40, NOWHERE]]
    assert top.row.tolist()[0][:3] == [0, 0, 1]
    assert top.col.tolist()[0][:3] == [1, 0, 0]


def test_padding_is_never_found():
    maps = np.full((4, ROWS, COLS, MAPS), 9, np.float32)
    maps[0] = -5
    top = top_of(jnp.asarray(maps), jnp.array([3, -1, -1, -1]), k=2)
    assert (top.value == np.array([-5, -np.inf])).all()
    assert (top.image == np.array([3, NOWHERE])).all()


# Few sizes, since each is compiled.
counts = st.sampled_from([1, 4])


@given(st.integers(0, 2**32 - 1), counts, counts, counts, st.sampled_from([2, 5]))
def test_merge_is_associative_and_commutative(seed, one, two, three, k):
    numbers = np.random.default_rng(seed).permutation(one + two + three)
    maps = tied(len(numbers), seed, 2, 2, 3)
    parts = [
        top_of(jnp.asarray(maps[cut]), jnp.int32(numbers[cut]), k)
        for cut in (slice(0, one), slice(one, one + two), slice(one + two, None))
    ]
    a, b, c = parts
    whole = brute_force(maps, numbers, k)
    assert_same(merge(merge(a, b), c), whole)
    assert_same(merge(a, merge(b, c)), whole)
    assert_same(merge(merge(c, a), b), whole)
    assert_same(merge(c, merge(b, a)), whole)


def test_merge_with_an_empty_table():
    maps = jnp.asarray(tied(4, 0, ROWS, COLS, MAPS))
    some = top_of(maps, jnp.arange(4), k=3)
    none = top_of(maps, jnp.full(4, -1), k=3)
    assert_same(merge(some, none), some)
    assert_same(merge(none, some), some)


@pytest.mark.parametrize("k", [1, 4, 30])
def test_batches_do_not_matter(k):
    maps = tied(23, 2, ROWS, COLS, MAPS)
    expected = brute_force(maps, np.arange(23), k)
    for size in (1, 4, 23, 40):
        found = mine(lambda images: images, batches(maps, size), k)
        assert all(isinstance(column, np.ndarray) for column in found)
        assert_same(found, expected)


def test_the_order_of_batches_does_not_matter():
    maps = tied(20, 3, ROWS, COLS, MAPS)
    parts = list(batches(maps, 6))
    assert_same(mine(lambda images: images, parts[::-1], 4), mine(lambda images: images, parts, 4))


def test_the_function_gets_the_images():
    images = np.arange(6, dtype=np.float32).reshape(6, 1)
    top = mine(lambda x: -jnp.abs(x - 3), [(images, np.arange(6))], 2)
    assert top.image.tolist() == [[3, 2]]
    assert top.value.tolist() == [[0, -1]]


def test_half_precision_is_kept_exact():
    maps = jnp.asarray([[1.0], [1.0078125]], jnp.bfloat16)
    top = top_of(maps, jnp.arange(2), k=2)
    assert top.value.tolist() == [[1.0078125, 1.0]]


def test_no_batches():
    with pytest.raises(ValueError, match="no batches"):
        mine(lambda images: images, [])
