from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from zfnet_jax.core.devices import make_mesh
from zfnet_jax.data.preprocessing import (
    VIEWS,
    PixelSums,
    Preprocessing,
    centre_view,
    corners,
    frame_size,
    pixel_sums,
    random_view,
    ten_views,
)

FRAME, SIZE = 11, 8


def coordinates(count: int, frame: int = FRAME) -> jax.Array:
    """Images whose pixels say where they are: (image, row, column)."""
    grid = np.meshgrid(np.arange(count), np.arange(frame), np.arange(frame), indexing="ij")
    return jnp.asarray(np.stack(grid, axis=-1), jnp.float32)


# Compiled, since eager operations compile one by one.
compiled_random_view = jax.jit(random_view, static_argnames=("size", "crops"))


def view_of(crop: np.ndarray) -> tuple[int, int, int, bool]:
    """The image, top, left and flip of a crop of `coordinates`."""
    image, top, left = crop[0, 0].astype(int)
    flip = crop[0, 1, 2] < crop[0, 0, 2]
    return int(image), int(top), int(crop[0, -1, 2] if flip else left), bool(flip)


def expected_crop(images: np.ndarray, image: int, top: int, left: int, flip: bool) -> np.ndarray:
    crop = images[image, top : top + SIZE, left : left + SIZE]
    return crop[:, ::-1] if flip else crop


@pytest.mark.parametrize(("size", "frame"), [(224, 256), (64, 73), (128, 146), (112, 128)])
def test_the_frame_is_as_much_larger_as_the_paper_s(size, frame):
    assert frame_size(size) == frame


# Views


def test_the_five_corners():
    assert corners(256, 224).tolist() == [[0, 0], [0, 32], [32, 0], [32, 32], [16, 16]]


def test_the_ten_views_are_corners_and_centre_then_the_same_flipped():
    images = np.asarray(coordinates(2))
    views = np.asarray(ten_views(jnp.asarray(images), SIZE))
    assert views.shape == (VIEWS, 2, SIZE, SIZE, 3)
    places = [(0, 0), (0, 3), (3, 0), (3, 3), (1, 1)]
    for number, view in enumerate(views):
        for image in range(2):
            expected = expected_crop(images, image, *places[number % 5], flip=number >= 5)
            np.testing.assert_array_equal(view[image], expected)


def test_the_centre_view_is_the_fifth():
    images = coordinates(3)
    np.testing.assert_array_equal(centre_view(images, SIZE), ten_views(images, SIZE)[4])


def draw(count: int, crops: str) -> list[tuple[int, int, bool]]:
    """The top, left and flip of the crops of many images, one each."""
    images = coordinates(count)
    views = np.asarray(compiled_random_view(jax.random.key(0), images, SIZE, crops))
    assert views.shape == (count, SIZE, SIZE, 3)
    drawn = [view_of(view) for view in views]
    expected = [expected_crop(np.asarray(images), *crop) for crop in drawn]
    np.testing.assert_array_equal(views, expected)
    assert [image for image, *_ in drawn] == list(range(count))
    return [(top, left, flip) for _, top, left, flip in drawn]


def test_views_are_the_paper_s_ten_about_equally_often():
    counts = Counter(draw(600, "views"))
    allowed = {(top, left, flip) for top, left in corners(FRAME, SIZE) for flip in (False, True)}
    assert set(counts) == allowed
    assert max(abs(count - 60) for count in counts.values()) < 5 * 60**0.5


def test_random_crops_reach_every_place_of_the_frame_and_both_flips():
    drawn = draw(600, "random")
    tops, lefts, flips = map(np.array, zip(*drawn, strict=True))
    assert set(tops) == set(lefts) == set(range(FRAME - SIZE + 1))
    assert 0.4 < flips.mean() < 0.6
    # Rows and columns are drawn apart, and apart from the flip.
    assert len(set(drawn)) == 32


@pytest.mark.parametrize("crops", ["views", "random"])
def test_a_view_follows_from_the_key_and_the_row_alone(crops):
    images, key = coordinates(16), jax.random.key(3)
    view = lambda key, images: np.asarray(compiled_random_view(key, images, SIZE, crops))
    whole = view(key, images)
    np.testing.assert_array_equal(view(key, images[:5]), whole[:5])
    np.testing.assert_array_equal(view(key, images.at[5:].set(0))[:5], whole[:5])
    assert np.any(view(jax.random.key(4), images) != whole)


@pytest.mark.parametrize("crops", ["views", "random"])
def test_a_view_does_not_depend_on_how_the_batch_lies_on_devices(crops):
    mesh = make_mesh()
    assert mesh.size == 8
    images, key = coordinates(16), jax.random.key(3)
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    views = [compiled_random_view(key, held, SIZE, crops) for held in (spread, images)]
    np.testing.assert_array_equal(*views)


def test_an_unknown_way_to_crop_is_refused():
    with pytest.raises(ValueError, match="'centre': expected 'views' or 'random'"):
        random_view(jax.random.key(0), coordinates(1), SIZE, "centre")


# Network space

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, FRAME, FRAME, 3), np.uint8)
MEANS = {
    "pixels": RNG.uniform(0, 255, (FRAME, FRAME, 3)).astype(np.float32),
    "colour": np.float32([[[104, 117, 124]]]),
}


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("scale", [1.0, 1 / 58, (1 / 58, 1 / 57, -2.0)])
@pytest.mark.parametrize("mean", MEANS)
def test_apply_and_undo(mean, scale, channels):
    preprocessing = Preprocessing(FRAME, MEANS[mean], scale, channels)
    images = preprocessing.apply(jnp.asarray(FRAMES))
    assert images.dtype == jnp.float32
    ordered = np.float64(FRAMES if channels == "rgb" else FRAMES[..., ::-1])
    np.testing.assert_allclose(
        images, (ordered - MEANS[mean]) * np.array(scale), rtol=1e-6, atol=1e-5
    )
    np.testing.assert_allclose(preprocessing.undo(images), FRAMES, atol=1e-4)


@pytest.mark.parametrize("mean", MEANS)
def test_undo_of_a_crop_takes_the_mean_from_where_it_was(mean):
    preprocessing = Preprocessing(FRAME, MEANS[mean])
    crop = preprocessing.apply(jnp.asarray(FRAMES))[:, 2:10, 1:9]
    raw = preprocessing.undo(crop, corner=(2, 1))
    np.testing.assert_allclose(raw, FRAMES[:, 2:10, 1:9], atol=1e-4)
    single = preprocessing.undo(crop[0], corner=(2, 1))
    np.testing.assert_array_equal(single, raw[0])


def test_apply_takes_float_frames_as_they_are():
    preprocessing = Preprocessing(FRAME, MEANS["pixels"])
    np.testing.assert_array_equal(
        preprocessing.apply(jnp.float32(FRAMES)), preprocessing.apply(jnp.asarray(FRAMES))
    )


@pytest.mark.parametrize("shape", [(10, 10, 3), (FRAME, FRAME, 1), (3,), (FRAME, FRAME)])
def test_a_mean_that_does_not_lie_over_the_frame_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(11, 11, 3\) or \(1, 1, 3\)"):
        Preprocessing(FRAME, np.zeros(shape, np.float32))


@pytest.mark.parametrize("scale", [0.0, np.nan, (1.0, 0.0, 1.0), (1.0, 1.0), (1.0,) * 4])
def test_a_scale_that_cannot_be_undone_is_refused(scale):
    with pytest.raises(ValueError, match=r"scale .*: expected a number, or three, none of them 0"):
        Preprocessing(FRAME, MEANS["colour"], scale)


# The mean


def test_the_mean_and_the_deviation_are_exact():
    sums = pixel_sums([FRAMES], FRAME)
    mean = FRAMES.astype(np.float64).mean(axis=0)
    assert sums.mean().dtype == np.float32
    np.testing.assert_array_equal(sums.mean(), mean.astype(np.float32))
    expected = np.sqrt(np.mean((FRAMES - mean) ** 2))
    assert sums.standard_deviation() == pytest.approx(expected, rel=1e-12)
    assert isinstance(sums.standard_deviation(), float)


def test_sums_do_not_depend_on_the_order_or_the_size_of_batches():
    frames = RNG.integers(0, 256, (40, FRAME, FRAME, 3), np.uint8)
    whole = pixel_sums([frames], FRAME)
    order = RNG.permutation(40)
    for cuts in ([1, 2, 3], [20], list(range(1, 40)), [0, 40]):
        other = pixel_sums(np.split(frames[order], cuts), FRAME)
        assert (other.frames, other.squares) == (whole.frames, whole.squares)
        np.testing.assert_array_equal(other.values, whole.values)
        assert other.mean().tobytes() == whole.mean().tobytes()
        assert other.standard_deviation() == whole.standard_deviation()


def test_sums_of_a_million_frames_do_not_overflow():
    white = PixelSums.of(np.full((1000, 2, 2, 3), 255, np.uint8))
    total = white
    for _ in range(999):
        total = total.plus(white)
    assert total.frames == 1_000_000
    assert set(total.mean().ravel()) == {255}
    assert total.squares == 1_000_000 * 12 * 255**2
    assert total.standard_deviation() == 0
