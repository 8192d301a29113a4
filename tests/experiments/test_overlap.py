"""Near-duplicates: against a loop in NumPy, and planted copies that must be found."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zfnet_jax.data.pictures import open_pictures
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.experiments import overlap
from zfnet_jax.experiments.overlap import (
    CLOSER,
    FLAT,
    SHIFT,
    SIDE,
    SIEVE,
    THRESHOLD,
    is_flat,
    near_duplicates,
    small_grey,
)
from zfnet_jax.experiments.planted_copies import KINDS, PlantedCopies

MIDDLE = slice(SHIFT, SIDE - SHIFT)


def alike(count: int, seed: int, noise: float = 25.0) -> np.ndarray:
    """Smooth random pictures of a few families, so that correlations of all heights occur."""
    rng = np.random.default_rng(seed)
    families = np.random.default_rng(7).normal(size=(4, 5, 5))
    made = []
    for each in range(count):
        waves = families[each % 4] + rng.uniform(0, 0.6) * rng.normal(size=(5, 5))
        y, x = np.mgrid[: SIDE + 4, : SIDE + 4] / SIDE
        cosines = [np.cos(np.pi * np.outer(range(5), z)) for z in (y[:, 0], x[0])]
        whole = cosines[0].T @ waves @ cosines[1]
        top, left = rng.integers(0, 3, 2)
        window = 128 + noise * whole[top : top + SIDE, left : left + SIDE]
        closer = 128 + noise * whole[top + 1 :, left + 1 :][:SIDE, :SIDE]
        made.append(np.stack([window, closer]))
    return np.clip(made, 0, 255).astype(np.uint8)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def halved(small: np.ndarray) -> np.ndarray:
    return np.float64(small[0, MIDDLE, MIDDLE]).reshape(12, 2, 12, 2).mean((1, 3))


def passes(one: np.ndarray, other: np.ndarray) -> bool:
    a, b = halved(one), halved(other)
    return min(a.std(), b.std()) >= FLAT and correlation(a, b) >= SIEVE


def closeness(one: np.ndarray, other: np.ndarray) -> float:
    side = SIDE - 2 * SHIFT
    places = itertools.product((0, 1), range(2 * SHIFT + 1), range(2 * SHIFT + 1))
    return max(
        correlation(a[view, y : y + side, x : x + side], b[0, MIDDLE, MIDDLE])
        for view, y, x in places
        for a, b in ((one, other), (other, one))
    )


def by_loops(first, second, threshold: float, mirrored: bool) -> dict[tuple[int, int], float]:
    within, second = second is None, first if second is None else second
    found = {}
    for i, j in itertools.product(range(len(first)), range(len(second))):
        if within and i >= j:
            continue
        ways = [second[j], second[j][..., ::-1]] if mirrored else [second[j]]
        values = [closeness(first[i], way) for way in ways if passes(first[i], way)]
        if values and max(values) >= threshold:
            found[i, j] = max(values)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_no_pair_is_lost(within: bool, mirrored: bool):
    first = alike(17, seed=0)
    second = None if within else np.concatenate([alike(9, seed=1), first[:3, :, :, ::-1]])
    expected = by_loops(first, second, 0.8, mirrored)
    assert 10 < len(expected) < 100  # of 136 and 204
    pairs = near_duplicates(first, second, 0.8, mirrored=mirrored, rows=4, columns=5)
    found = dict(zip(zip(*map(np.ndarray.tolist, pairs[:2]), strict=True), pairs[2], strict=True))
    assert found.keys() == expected.keys()
    assert len(found) == len(pairs.first)
    for pair, value in expected.items():
        assert found[pair] == pytest.approx(value, abs=1e-5)
    assert (np.diff(pairs.correlation) <= 0).all()
    if not mirrored:
        assert not pairs.mirrored.any()
    elif not within:
        turned = {pair for pair, flag in zip(found, pairs.mirrored, strict=True) if flag}
        assert turned >= {(0, 9), (1, 10), (2, 11)}


@pytest.mark.parametrize(("rows", "columns"), [(1, 11), (5, 3), (17, 1), (30, 30)])
def test_the_blocks_do_not_matter(rows: int, columns: int):
    first, second = alike(17, 2), alike(11, 3)
    whole = near_duplicates(first, second, 0.8)
    parts = near_duplicates(first, second, 0.8, rows=rows, columns=columns)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_more_candidates_than_are_compared_at_a_time(monkeypatch):
    first, second = alike(8, 0), alike(9, 1)
    whole = near_duplicates(first, second, 0.75)
    monkeypatch.setattr(overlap, "_PAIRS", overlap._TOGETHER)
    many = near_duplicates(np.tile(first, (16, 1, 1, 1)), second, 0.75)
    assert len(many.first) == 16 * len(whole.first) > overlap._TOGETHER
    assert set(zip(many.first % 8, many.second, strict=True)) == set(zip(*whole[:2], strict=True))


def test_brightness_and_contrast_do_not_matter():
    first = alike(6, 0, noise=15)
    second = (first // 2 + 90).astype(np.uint8)
    pairs = near_duplicates(first, second, 0.99)
    assert {(i, i) for i in range(6)} <= set(zip(*map(np.ndarray.tolist, pairs[:2]), strict=True))


def test_flat_pictures_match_nothing():
    small = alike(4, 0)
    small[1], small[2] = 255, 7
    small[2, :, 3, 3] = 9
    assert is_flat(small).tolist() == [False, True, True, False]
    pairs = near_duplicates(small, small, 0.7)
    assert set(zip(*map(np.ndarray.tolist, pairs[:2]), strict=True)) >= {(0, 0), (3, 3)}
    assert not set(pairs.first) & {1, 2}
    assert not set(pairs.second) & {1, 2}
    assert len(near_duplicates(small[1:2]).first) == 0


@pytest.mark.parametrize("threshold", [0.69, 1.0, -1.0, float("nan")])
def test_wrong_thresholds(threshold: float):
    with pytest.raises(ValueError, match=r"threshold .*: expected 0\.7\.\.1, 1 exclusive"):
        near_duplicates(alike(2, 0), None, threshold)


def test_too_many_pairs(monkeypatch):
    monkeypatch.setattr(overlap, "PAIR_LIMIT", 5)
    with pytest.raises(ValueError, match=r"more than 5 pairs at threshold 0\.9"):
        near_duplicates(np.repeat(alike(1, 0), 4, axis=0))


# From pictures


def test_the_small_versions_are_averages(tmp_path: Path):
    """A ramp from left to right, in colours of known luma, on a wide picture."""
    ramp = np.linspace(20, 220, 208)
    pixels = np.zeros((208, 400, 3))
    pixels[:, 96:304, 1] = ramp
    Image.fromarray(pixels.round().astype(np.uint8)).save(tmp_path / "ramp.png")
    (small,) = small_grey(open_pictures([tmp_path])[0])
    assert np.ptp(small[:, :, 3:-3], axis=1).max() <= 1  # all rows alike
    centres = np.arange(SIDE) - (SIDE - 1) / 2
    for view, part in zip(small, (1, CLOSER), strict=True):
        expected = 0.587 * (120 + 200 * part * centres / SIDE)
        np.testing.assert_allclose(view[5, 2:-2], expected[2:-2], atol=1.5)


RECALL = {
    "resized": 1.0,
    "recompressed": 1.0,
    "cropped": 0.97,
    "brightness": 1.0,
    "mirrored": 1.0,
    "all but mirrored": 0.97,
}
"""The least share of copies that must be found; benchmarks/overlap.py prints it for photographs."""

DRAWN = Shapes("train", 300, seed=1)


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return small_grey(DRAWN)


@pytest.mark.parametrize("kind", KINDS)
def test_planted_copies_are_found(kind: str, drawn: np.ndarray):
    assert RECALL.keys() == KINDS.keys()
    pairs = near_duplicates(drawn, small_grey(PlantedCopies(DRAWN, kind)))
    own = pairs.first == pairs.second
    assert own.sum() >= RECALL[kind] * len(DRAWN)
    assert (~own).sum() <= 4  # of 89,700: two drawn pictures of one class may look alike
    if kind == "mirrored":
        # A thing that looks the same from both sides may match either way.
        assert pairs.mirrored[own].mean() > 0.95


def test_drawn_pictures_hardly_look_alike(drawn: np.ndarray):
    pairs = near_duplicates(drawn)
    assert len(pairs.first) <= 2  # of 44,850
    assert THRESHOLD == 0.9
    assert (DRAWN.labels[pairs.first] == DRAWN.labels[pairs.second]).all()


def test_copies_are_drawn_by_the_seed():
    some = dataclasses.replace(DRAWN, length=2)
    assert PlantedCopies(some, "cropped", 3)[1] == PlantedCopies(some, "cropped", 3)[1]
    assert PlantedCopies(some, "cropped", 3)[1] != PlantedCopies(some, "cropped", 4)[1]
    assert PlantedCopies(some, "cropped").class_names == DRAWN.class_names
