import jax
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zfnet_jax.analysis import affine, invariance
from zfnet_jax.analysis.affine import rotations, scales, translations, warp
from zfnet_jax.analysis.invariance import respond
from zfnet_jax.zfnet.architecture import ZFNET

SIZE = 32
LAYERS = ["conv1", "norm2", "fc4"]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 50, (2, SIZE, SIZE, 3)).astype(np.float32)


def bilinear(image: np.ndarray, row: float, col: float) -> np.ndarray:
    """One pixel by hand, in float64, with 0 around the picture."""
    padded = np.pad(np.float64(image), ((1, 1), (1, 1), (0, 0)))
    row, col = np.clip(row + 1, 0, len(image) + 0.9999), np.clip(col + 1, 0, len(image) + 0.9999)
    r, c = int(row), int(col)
    down, right = row - r, col - c
    above = (1 - right) * padded[r, c] + right * padded[r, c + 1]
    below = (1 - right) * padded[r + 1, c] + right * padded[r + 1, c + 1]
    return (1 - down) * above + down * below


# The transformations


@pytest.mark.parametrize(
    "maps", [translations(np.zeros(1)), scales(np.ones(1)), rotations(np.array([0, 360]))]
)
def test_the_identity_is_exact(images, maps):
    np.testing.assert_array_equal(warp(images, maps[:1])[0], images)


@pytest.mark.parametrize("size", [SIZE, SIZE - 1])
@pytest.mark.parametrize("pixels", [-40, -5, 0, 1, 17])
def test_whole_pixels_are_a_shift(images, size, pixels):
    images = images[:, :size, :size]
    expected = np.zeros_like(images)
    if pixels >= 0:
        expected[:, pixels:] = images[:, : size - pixels]
    else:
        expected[:, : max(0, size + pixels)] = images[:, -pixels:]
    np.testing.assert_array_equal(warp(images, translations(np.array([pixels])))[0], expected)


@pytest.mark.parametrize("size", [SIZE, SIZE - 1])
def test_quarter_turns_are_rot90(images, size):
    images = images[:, :size, :size]
    turned = warp(images, rotations(np.array([90, 180, 270, -90])))
    for times, found in zip((1, 2, 3, -1), turned, strict=True):
        expected = np.rot90(images, times, axes=(1, 2))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_enlarging_is_pillow_s_bilinear(images):
    """A whole factor: Pillow resizes the picture's middle, which is then the whole picture."""
    image = images[0, ..., 0]
    found = np.asarray(warp(images, scales(np.array([2])))[0, 0, ..., 0])
    whole = Image.fromarray(image).resize((2 * SIZE, 2 * SIZE), Image.Resampling.BILINEAR)
    middle = np.asarray(whole)[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2]
    np.testing.assert_allclose(found, middle, rtol=0, atol=1e-3)


@given(
    angle=st.floats(0, 360),
    factor=st.floats(0.5, 3),
    shift=st.floats(-40, 40),
    place=st.tuples(*[st.integers(0, SIZE - 1)] * 2),
)
def test_against_bilinear_interpolation_by_hand(images, angle, factor, shift, place):
    middle = (SIZE - 1) / 2
    down, right = np.subtract(place, middle)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    sources = {
        "translation": (down - shift, right),
        "scale": (down / factor, right / factor),
        "rotation": (cos * down + sin * right, cos * right - sin * down),
    }
    values = {"translation": shift, "scale": factor, "rotation": angle}
    maps = [affine.TRANSFORMS[kind](np.array([values[kind]])) for kind in sources]
    found = np.asarray(warp(images[:1], np.concatenate(maps)))[:, 0, place[0], place[1]]
    for pixel, (row, col) in zip(found, sources.values(), strict=True):
        expected = bilinear(images[0], row + middle, col + middle)
        np.testing.assert_allclose(pixel, expected, rtol=0, atol=0.02)


def test_what_comes_from_outside_is_nothing(images):
    moved = np.asarray(warp(images + 1000, translations(np.array([10.5])))[0])
    assert (moved[:, :10] == 0).all()
    np.testing.assert_allclose(moved[:, 10], (images[:, 0] + 1000) / 2, rtol=1e-5)


def test_the_paper_s_ranges_in_proportion():
    paper = invariance.default_values(224)
    assert (paper["translation"][[0, -1]] == [-60, 60]).all()
    assert 0 in paper["translation"]
    assert (paper["scale"][[0, -1]] == [1, 1.8]).all()
    assert (np.diff(paper["rotation"]) == 10).all()
    assert paper["rotation"][-1] == 350
    assert invariance.default_values(112)["translation"][-1] == 30


def test_default_layers():
    assert invariance.default_layers(ZFNET) == ("conv1", "fc7")
    assert invariance.default_layers(TINY) == ("conv1", "fc4")


# The responses


def test_against_numpy(images, function, tiny: Case):
    maps = np.concatenate([translations(np.array([3, -7.5])), rotations(np.array([40]))])
    labels = [4, 1]
    found = respond(function, images, labels, maps, LAYERS)
    run = jax.jit(function)
    _, originals = run(images)
    moved = np.asarray(warp(images, maps))
    for number, each in enumerate(moved):
        logits, activations = jax.tree.map(np.float64, run(each))
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found.probability[:, number], shares[[0, 1], labels], rtol=1e-4)
        for layer in LAYERS:
            rows = np.float64(originals[layer]).reshape(2, -1)
            distance = np.linalg.norm(activations[layer].reshape(2, -1) - rows, axis=1)
            norm = np.linalg.norm(rows, axis=1)
            np.testing.assert_allclose(found.distance[layer][:, number], distance, rtol=1e-4)
            np.testing.assert_allclose(found.norm[layer], norm, rtol=1e-5)
            np.testing.assert_allclose(found.relative(layer)[:, number], distance / norm, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_identity_is_at_no_distance_in_any_batch(images, function, batch_size):
    maps = np.concatenate([translations(np.arange(-4, 5)), scales(np.array([1, 1.3]))])
    found = respond(function, images, [0, 1], maps, LAYERS, batch_size=batch_size)
    for layer in LAYERS:
        relative = found.relative(layer)
        # Not 0 to the last bit: a row's place in its batch may decide the order of sums.
        assert (relative[:, [4, 9]] < 1e-6).all()
        assert (np.delete(relative, [4, 9], axis=1) > 1e-3).all()


def test_batches_do_not_matter(images, function):
    maps = translations(np.linspace(-9, 9, 11))
    one, other = (
        respond(function, images, [2, 3], maps, LAYERS, batch_size=size) for size in (2, 64)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), one, other)


def test_memory_does_not_grow_with_the_steps(images, function, monkeypatch):
    """Every call of the compiled step has the same shapes, however many steps there are."""
    shapes = set()
    compiled = invariance._compiled_step

    def noted(mesh, outputs):
        step = compiled(mesh, outputs)

        def call(*args):
            shapes.add(str(jax.tree.map(np.shape, args[1:])))
            return step(*args)

        return call

    monkeypatch.setattr(invariance, "_compiled_step", noted)
    for count in (40, 90):
        respond(function, images, [0, 0], translations(np.linspace(-1, 1, count)), LAYERS)
    assert len(shapes) == 1


def test_relative_to_nothing_is_not_defined():
    found = invariance.Responses(
        {"fc": np.ones((2, 1))}, {"fc": np.array([0, 2.0])}, np.ones((2, 1))
    )
    np.testing.assert_array_equal(found.relative("fc"), [[np.nan], [0.5]])


def test_what_cannot_be(images, function):
    maps = translations(np.zeros(1))
    with pytest.raises(ValueError, match=r"layer 'conv9': expected one of conv1, conv2"):
        respond(function, images, [0, 0], maps, ["conv9"])
    with pytest.raises(ValueError, match=rf"label 7: expected 0..{CLASSES - 1}"):
        respond(function, images, [0, 7], maps, LAYERS)
