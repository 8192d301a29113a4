from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, Case, function_of
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from zfnet_jax.analysis import affine, invariance, occlusion, occlusion_maps, pointing
from zfnet_jax.analysis.occlusion import Occlusion, TopUnit, occlude, positions
from zfnet_jax.analysis.pointing import point
from zfnet_jax.zfnet.model import forward


def masked(image: np.ndarray, corner: np.ndarray, size: int, value: float) -> np.ndarray:
    """The oracle: one square written into a copy."""
    top, left = corner
    copy = image.copy()
    copy[top : top + size, left : left + size] = value
    return copy


# The sweep


def test_every_position_is_a_forward_pass_of_the_masked_picture(tiny: Case):
    image = np.asarray(tiny.images[0])
    found = occlude(function_of(tiny), image, "conv3", size=10, stride=5, value=0.5, batch_size=8)
    assert found.top_left.shape == (5, 5, 2)
    assert found.top_left[2, 3].tolist() == [10, 15]
    number = found.unit.map
    run = jax.jit(partial(forward, tiny.arch, tiny.params))
    for row, col in np.ndindex(5, 5):
        one = masked(image, found.top_left[row, col], 10, 0.5)[None]
        logits, trace = run(jnp.asarray(one))
        expected = jax.nn.softmax(logits[0])
        np.testing.assert_allclose(found.outputs[row, col], expected, rtol=1e-5)
        activity = trace.activations["conv3"][0, ..., number].sum()
        np.testing.assert_allclose(found.activity[row, col], activity, rtol=1e-5)


def test_the_map_is_the_one_with_the_strongest_single_unit(tiny: Case):
    image = np.asarray(tiny.images[1])
    found = occlude(function_of(tiny), image, "conv3", size=20, stride=12)
    maps = np.asarray(tiny.trace.activations["conv3"][1])
    row, col, number = np.unravel_index(maps.argmax(), maps.shape)
    assert found.unit[:3] == (number, row, col)
    assert found.unit.value == pytest.approx(maps.max(), rel=1e-5)
    np.testing.assert_allclose(found.unoccluded, jax.nn.softmax(tiny.logits[1]), rtol=1e-5)


def test_a_map_by_its_number(tiny: Case):
    image, maps = np.asarray(tiny.images[1]), np.asarray(tiny.trace.activations["conv3"][1])
    for number in range(maps.shape[-1]):
        found = occlude(function_of(tiny), image, "conv3", size=32, stride=1, map_number=number)
        row, col = np.unravel_index(maps[..., number].argmax(), maps.shape[:2])
        assert found.unit[:3] == (number, row, col)


def test_a_dense_layer_has_one_place(tiny: Case):
    image, outputs = np.asarray(tiny.images[0]), np.asarray(tiny.trace.activations["fc4"][0])
    found = occlude(function_of(tiny), image, "fc4", size=16, stride=16)
    assert found.unit[:3] == (outputs.argmax(), 0, 0)
    assert found.activity.shape == (2, 2)


def test_any_function_and_a_picture_that_is_no_square():
    def function(images):
        brightness = images.mean(axis=(1, 2))
        return brightness, {"pixels": images}

    image = np.random.default_rng(0).uniform(1, 2, (6, 9, 2)).astype(np.float32)
    found = occlude(
        function, image, "pixels", size=2, stride=1, value=-1.0, map_number=1, batch_size=7
    )
    assert found.outputs.shape == (5, 8, 2)
    for row, col in np.ndindex(5, 8):
        one = masked(image, found.top_left[row, col], 2, -1.0)
        mean = np.exp(one.mean(axis=(0, 1)))
        np.testing.assert_allclose(found.outputs[row, col], mean / mean.sum(), rtol=1e-5)
        np.testing.assert_allclose(found.activity[row, col], one[..., 1].sum(), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 17, 60])
def test_batches_change_nothing(batch_size):
    def function(images):
        return images[:, 0, :, 0], {"pixels": images}

    image = np.arange(49, dtype=np.float32).reshape(7, 7, 1)
    one = occlude(function, image, "pixels", size=2, stride=1, batch_size=batch_size)
    other = occlude(function, image, "pixels", size=2, stride=1, batch_size=36)
    np.testing.assert_array_equal(one.activity, other.activity)
    np.testing.assert_allclose(one.outputs, other.outputs, rtol=1e-6)


def test_the_devices_never_hold_more_pictures_than_a_batch():
    seen = []

    def function(images):
        seen.append(len(images))
        return images[:, 0, :, 0], {"pixels": images}

    image = np.ones((20, 20, 1), np.float32)
    occlude(function, image, "pixels", size=2, stride=1, batch_size=16)
    assert 1 < max(seen) <= 16


def test_nets_of_one_architecture_compile_once(tiny: Case):
    calls = []

    def function(params, images):
        calls.append(1)
        return (images * params).sum(axis=(1, 2)), {"pixels": images}

    image = np.ones((8, 8, 3), np.float32)
    for scale in (1.0, 2.0):
        for size in (2, 3):
            occlude(Partial(function, jnp.float32(scale)), image, "pixels", size=size, stride=5)
    assert len(calls) == 2 + 4, "a trace for each program, and one look at the shapes for each call"


def test_no_drop_where_nothing_is_hidden(tiny: Case):
    image = np.array(tiny.images[0])
    image[4:12, 16:24] = 0.25
    found = occlude(function_of(tiny), image, "conv3", size=8, stride=4, value=0.25)
    for label in range(CLASSES):
        np.testing.assert_allclose(found.drop(label)[1, 4], 0, atol=1e-6)
    assert np.abs(found.drop(0)).max() > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 33}, r"size 33: expected 1\.\.32"),
        ({"size": 0}, r"size 0: expected 1\.\.32"),
        ({"stride": 0}, "stride 0: expected 1 or more"),
        ({"layer": "conv9"}, "layer 'conv9': expected one of conv1, conv2"),
        ({"map_number": 7}, r"map 7: expected 0\.\.6, conv3 has 7 maps"),
        ({"map_number": -1}, "map -1: expected"),
    ],
)
def test_wrong_arguments(tiny: Case, options, message):
    given = {"layer": "conv3", "size": 8, "stride": 8, **options}
    with pytest.raises(ValueError, match=message):
        occlude(function_of(tiny), np.asarray(tiny.images[0]), **given)


# What the outputs are


def _returning(outputs: np.ndarray):
    """A network of these outputs, whatever the picture."""

    def function(images):
        ones = jnp.ones((len(images), 1))
        return ones * jnp.asarray(outputs), {"pixels": images}

    return function


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1.0, 2.0, 3.0], "logits", np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()),
        ([0.2, 0.7, 0.1], "probabilities", [0.2, 0.7, 0.1]),
        ([0.9, 0.8], "probabilities", [0.9, 0.8]),  # of several labels at once
        ([0.4], "probabilities", [0.4]),
        ([-3.0, 5.0], "values", [-3, 5]),
        ([7.0], "values", [7]),
    ],
)
def test_outputs_are_what_they_are_declared_to_be(values, kind, expected):
    image = np.ones((4, 4, 1), np.float32)
    function = _returning(np.float32(values))
    found = occlude(function, image, "pixels", size=4, stride=1, outputs=kind)
    np.testing.assert_allclose(found.outputs[0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found.unoccluded, expected, rtol=1e-6)
    responses = invariance.respond(
        function, image[None], [0], affine.translations(np.zeros(1)), [], outputs=kind
    )
    np.testing.assert_allclose(responses.probability, [[expected[0]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([3.0], "logits", r"logits of shape \(1, 1\): expected 2 classes or more"),
        ([0.2, 0.7, 0.1], "logits", "logits between 0 and 1 whose sum is 1: expected values bef"),
        ([0.2, 1.7], "probabilities", r"probabilities between 0\.2 and 1\.7: expected 0\.\.1"),
        ([0.2, 0.8], "shares", "outputs 'shares': expected one of logits, probabilities, values"),
        ([[[0.2, 0.8]]], "logits", r"outputs of shape \(1, \d, 2\): expected \(N, classes\)"),
    ],
)
def test_outputs_that_are_not_what_they_are_declared_to_be_are_refused(values, kind, message):
    image, function = np.ones((4, 4, 1), np.float32), _returning(np.float32(values))
    still = affine.translations(np.zeros(1))
    with pytest.raises(ValueError, match=message):
        occlude(function, image, "pixels", size=4, stride=1, outputs=kind)
    with pytest.raises(ValueError, match=message):
        invariance.respond(function, image[None], [0], still, [], outputs=kind)


# The grid


def test_the_paper_s_grid():
    assert occlusion.in_proportion(224) == (50, 6)
    assert positions((224, 224), 50, 6).shape == (30, 30, 2)
    assert occlusion.in_proportion(128) == (29, 3)
    assert occlusion.in_proportion(8) == (2, 1)
    assert occlusion.in_proportion(64, pointing.SIZE, pointing.STRIDE) == (3, 2)


@given(high=st.integers(1, 40), wide=st.integers(1, 40), stride=st.integers(1, 9), data=st.data())
def test_squares_lie_inside_and_no_further_one_fits(high, wide, stride, data):
    size = data.draw(st.integers(1, min(high, wide)))
    grid = positions((high, wide), size, stride)
    assert (grid[0, 0] == 0).all()
    assert (np.diff(grid[..., 0], axis=0) == stride).all()
    assert (np.diff(grid[..., 1], axis=1) == stride).all()
    last = grid[-1, -1] + size
    assert (last <= (high, wide)).all()
    assert (last + stride > (high, wide)).all()


# What is read from the maps


def made_up(probability, whole, top_left, size) -> Occlusion:
    return Occlusion(
        np.float32(probability),
        np.zeros(np.shape(probability)[:2], np.float32),
        top_left,
        size,
        np.float32(whole),
        TopUnit(0, 0, 0, 0.0),
    )


def test_drop_and_most_probable_label():
    found = made_up([[[0.1, 0.9], [0.75, 0.25]]], [0.5, 0.5], positions((3, 4), 3, 1), 3)
    np.testing.assert_allclose(found.drop(0), [[0.4, -0.25]], rtol=1e-6)
    np.testing.assert_allclose(found.drop(1), [[-0.4, 0.25]], rtol=1e-6)
    assert found.most_probable.tolist() == [[1, 0]]
    assert occlusion_maps.place_of_largest(found.drop(1)) == (0, 1)


def test_mean_over_the_squares_that_cover_a_pixel():
    values = np.array([[1.0, 3.0, 11.0]])
    mean = occlusion_maps.per_pixel_mean(values, positions((2, 7), 2, 2), 2, (2, 7))
    assert mean[0, :6].tolist() == [1, 1, 3, 3, 11, 11]
    assert np.isnan(mean[:, 6]).all()
    mean = occlusion_maps.per_pixel_mean(values, positions((2, 4), 2, 1), 2, (2, 4))
    assert mean.tolist() == [[1, 2, 7, 11]] * 2


@given(seed=st.integers(0, 99), size=st.integers(1, 9), stride=st.integers(1, 4))
def test_hidden_area_counts_the_object_s_pixels(seed, size, stride):
    mask = np.random.default_rng(seed).random((9, 11)) < 0.3
    grid = positions(mask.shape, size, stride)
    area = occlusion_maps.hidden_area(mask, grid, size)
    for row, col in np.ndindex(area.shape):
        top, left = grid[row, col]
        assert area[row, col] == mask[top : top + size, left : left + size].sum()


def test_correlation():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 5, 6))
    expected = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert occlusion_maps.correlation(one, other) == pytest.approx(expected)
    assert occlusion_maps.correlation(one, 3 - 2 * one) == pytest.approx(-1)
    assert occlusion_maps.correlation(one, np.ones((5, 6))) == 0


# The pointing game


def test_pointing_at_a_thin_part():
    """The first of three squares that hide all of a thin part is centred beside it."""
    grid = positions((3, 7), 3, 1)
    mask = np.zeros((3, 7), bool)
    mask[:, 3] = True
    right = np.where(occlusion_maps.hidden_area(mask, grid, 3) > 0, 0.2, 0.9)
    found = made_up(np.stack([1 - right, right], axis=-1), [0.1, 0.9], grid, 3)
    told = point(found, 1, mask)
    assert told.correct
    assert told.drop == pytest.approx(0.7)
    assert (told.centre, told.fullest, told.peak, told.touches) == (False, False, True, True)
    assert told.chance == pytest.approx(1 / 5)
    assert told.correlation == pytest.approx(1)
    other = point(found, 0, mask)
    assert (other.correct, other.touches) == (False, False)
    assert other.correlation == pytest.approx(-1)


def test_the_square_that_hides_the_most_may_have_its_centre_on_the_object():
    grid = positions((5, 5), 3, 1)
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    found = made_up(np.full((*grid.shape[:2], 2), 0.5), [0.5, 0.5], grid, 3)
    told = point(found, 0, mask)
    assert (told.fullest, told.chance, told.correlation) == (True, 1, 0)
