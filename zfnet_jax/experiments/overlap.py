"""Near-duplicates between two picture collections, by normalised correlation.

Zeiler & Fergus 2014, section 5.2: "we use normalized correlation to identify these few 'overlap'
images", which are taken out of the training set before it is trained again. Versions, tolerance
and threshold are choices, since the paper gives none.

A picture is compared by the centre square that the network sees, grey and `SIDE` pixels wide. A
copy that lost 5 % at its borders hardly correlates more with its original than another picture of
the same kind, so the pair's correlation is the highest over shifts by up to `SHIFT` pixels and a
view of either picture that shows `CLOSER` of its side. Only pairs that pass a sieve are compared
in this way: the sieve is one matrix product per block over versions of half the width.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from tqdm import tqdm

from zfnet_jax.core import compilation
from zfnet_jax.core.devices import processors
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.source import Source, expect_all_there

SIDE, SHIFT, CLOSER = 26, 1, 0.95
"""Pixels of a small grey version, how many it is shifted by, and the side of the closer view."""

SIEVE = 0.7
"""The correlation at half the width that a pair needs to be compared closely."""

THRESHOLD = 0.9
"""The correlation from which on pictures count as near-duplicates; benchmarks/overlap.py
measures how many planted copies reach it."""

FLAT = 1.0
"""Grey levels: a picture whose pixels' standard deviation is lower correlates with nothing."""

PAIR_LIMIT = 1_000_000
"""The largest number of pairs that is listed."""

_DECODED = 64  # pixels, so that the smaller versions are averages
_BATCH = 64  # pictures decoded at a time
_PAIRS = 1024  # pairs compared closely in one call
_TOGETHER = 64  # and at a time, so that they stay in a processor's cache
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG


class Pairs(NamedTuple):
    """Pairs of near-duplicates, P of them, best first; ties by number.

    Attributes:
      first: (P,) int64, which picture of the first collection.
      second: (P,) int64, which of the second; within one collection the one with a higher number.
      correlation: (P,) float32, -1..1.
      mirrored: (P,) bool, whether one of them is to be mirrored for it.
    """

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray


def small_grey(source: Source, title: str = "pictures") -> np.ndarray:
    """Small grey versions of all pictures of a source.

    Args:
      source: the pictures.
      title: their name in the progress bar.

    Returns:
      (N, 2, SIDE, SIDE) uint8: of the centre square, and of its middle, by `CLOSER` smaller.

    Raises:
      ValueError: a picture cannot be read, or is gone.
    """
    small = np.empty((len(source), 2, SIDE, SIDE), np.uint8)
    batches = all_batches(ImageSet.of(source, _DECODED, cache_gib=0), batch_size=_BATCH)
    bar = tqdm(total=len(source), desc=f"reading {title}", unit="", delay=2, disable=None)
    with bar, expect_all_there(source):
        for start, batch in zip(range(0, len(source), _BATCH), batches, strict=True):
            part = small[start : start + _BATCH]
            part[:] = np.asarray(_compiled(_views)(batch.frames))[: len(part)]
            bar.update(len(part))
    return small


def is_flat(small: np.ndarray) -> np.ndarray:
    """The pictures whose grey values hardly vary, which are compared with nothing: (N,) bool."""
    return np.asarray(_coarse(small)).std(axis=(1, 2)) < FLAT


def near_duplicates(
    first: np.ndarray,
    second: np.ndarray | None = None,
    threshold: float = THRESHOLD,
    *,
    mirrored: bool = True,
    rows: int = 1024,
    columns: int = 4096,
) -> Pairs:
    """The pairs of pictures whose normalised correlation reaches a threshold.

    Zeiler & Fergus 2014, section 5.2. At most `rows` x `columns` correlations are in memory at a
    time; every pair that passes the sieve and reaches the threshold is in the result.

    Args:
      first: (N, 2, SIDE, SIDE) uint8, a collection's `small_grey`.
      second: (M, 2, SIDE, SIDE) uint8, another's; None for pairs of different pictures of one.
      threshold: the lowest correlation of a pair, SIEVE..1, 1 exclusive.
      mirrored: also against the mirror images, as the net sees them in training.
      rows: pictures of the first collection in a block.
      columns: pictures of the second.

    Returns:
      The pairs; of a pair that is found as it is and mirrored, the one of higher correlation.

    Raises:
      ValueError: the threshold is out of range, or there are more than `PAIR_LIMIT` pairs.
    """
    if not SIEVE <= threshold < 1:
        raise ValueError(f"threshold {threshold}: expected {SIEVE}..1, 1 exclusive")
    within, second = second is None, first if second is None else second
    blocks = [
        (top, left)
        for top in range(0, len(first), rows)
        for left in range(0, len(second), columns)
        if not within or top < left + columns - 1
    ]
    in_blocks: list[Pairs] = []
    height, width = min(rows, len(first)), min(columns, len(second))
    bar = tqdm(blocks, "matching", unit="block", delay=2, disable=None)
    with ThreadPoolExecutor(processors()) as pool, bar:
        for top, left in bar:
            upper, lower = first[top : top + rows], second[left : left + columns]
            for turned in (False, True) if mirrored else (False,):
                other = lower[..., ::-1] if turned else lower
                block = _filled(upper, height), _filled(other, width)
                i, j = np.nonzero(np.asarray(_compiled(_sieve)(*block)))
                if within:
                    i, j = i[i + top < j + left], j[i + top < j + left]
                cuts = range(_PAIRS, len(i), _PAIRS)
                compare = partial(_compare, upper, other)
                parts = pool.map(compare, np.split(i, cuts), np.split(j, cuts))
                value = np.concatenate(list(parts))
                near = value >= threshold
                pair = i[near] + top, j[near] + left, value[near]
                in_blocks.append(Pairs(*pair, np.full(near.sum(), turned)))
            if sum(len(pairs.first) for pairs in in_blocks) > PAIR_LIMIT:
                raise ValueError(
                    f"more than {PAIR_LIMIT:,} pairs at threshold {threshold}: expected fewer, "
                    "with a higher threshold or without pictures that are all alike"
                )
    return _best_first(in_blocks)


def _best_first(in_blocks: list[Pairs]) -> Pairs:
    """All pairs in order, each once."""
    nothing = Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float32, bool)))
    pairs = Pairs(*map(np.concatenate, zip(nothing, *in_blocks, strict=True)))
    order = np.lexsort((pairs.mirrored, pairs.second, pairs.first, -pairs.correlation))
    pairs = Pairs(*(column[order] for column in pairs))
    _, once = np.unique(np.stack(pairs[:2]), axis=1, return_index=True)
    return Pairs(*(column[np.sort(once)] for column in pairs))


def _filled(small: np.ndarray, count: int) -> np.ndarray:
    """The pictures and flat ones, which correlate with nothing, up to a count; shapes stay few."""
    return np.pad(small, ((0, count - len(small)), *((0, 0),) * 3))


def _compare(first: np.ndarray, second: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The correlation of the pairs (i, j), at most `_PAIRS`."""
    pairs = _filled(first[i], _PAIRS), _filled(second[j], _PAIRS)
    return np.asarray(_compiled(_closeness)(*pairs))[: len(i)]


@cache
def _compiled(function: Callable[..., Array]) -> Callable[..., Array]:
    return compilation.jit(function)


def _views(frames: Array) -> Array:
    """Raw squares, (N, H, H, 3), as small grey versions."""
    grey, side = jnp.float32(frames) @ jnp.float32(_LUMA), frames.shape[1]
    views = []
    for part in (1, CLOSER):
        scale = jnp.full(2, SIDE / (part * side), jnp.float32)
        shape = (len(grey), SIDE, SIDE)
        shift = SIDE / 2 - scale * side / 2
        views.append(jax.image.scale_and_translate(grey, shape, (1, 2), scale, shift, "linear"))
    return jnp.stack(views, axis=1).round().clip(0, 255).astype(jnp.uint8)


def _sieve(first: Array | np.ndarray, second: Array | np.ndarray) -> Array:
    """Which pairs of a block may be near-duplicates: (N, M) bool."""
    a, b = _unit(_coarse(first)), _unit(_coarse(second))
    return jnp.matmul(a, b.T, precision="highest") >= SIEVE


def _closeness(first: Array, second: Array) -> Array:
    """The highest correlation of each pair, (P,): of either's windows and the other's middle."""
    parts = (x.reshape(-1, _TOGETHER, *x.shape[1:]) for x in (first, second))
    return lax.map(lambda part: _closeness_of_few(*part), tuple(parts)).reshape(-1)


def _closeness_of_few(first: Array, second: Array) -> Array:
    side = SIDE - 2 * SHIFT
    area, starts = side * side, range(2 * SHIFT + 1)
    best = jnp.full(len(first), -1.0, jnp.float32)
    # The pairs last: a CPU sums over other axes than the last much faster.
    a, b = (jnp.moveaxis(_centred(x), 0, -1) for x in (first, second))
    for one, other in ((a, b), (b, a)):
        middle = other[0, SHIFT:-SHIFT, SHIFT:-SHIFT]
        middle -= middle.mean((0, 1))
        middle /= jnp.maximum(jnp.sqrt((middle * middle).mean((0, 1))), FLAT) * area
        for y in starts:
            rows = one[:, y : y + side]
            sums, squares = rows.sum(1), (rows * rows).sum(1)
            for x in starts:
                product = (rows[:, :, x : x + side] * middle).sum((1, 2))
                mean, square = (z[:, x : x + side].sum(1) / area for z in (sums, squares))
                variance = jnp.maximum(square - mean * mean, FLAT**2)
                best = jnp.maximum(best, (product / jnp.sqrt(variance)).max(0))
    return best


def _centred(pixels: Array) -> Array:
    pixels = jnp.float32(pixels)
    return pixels - pixels.mean((-2, -1), keepdims=True)


def _coarse(small: Array | np.ndarray) -> Array:
    """The middle at half the width."""
    middle = jnp.float32(_middle(small))
    half = middle.shape[-1] // 2
    return middle.reshape(-1, half, 2, half, 2).mean((2, 4))


def _middle(small: Array | np.ndarray) -> Array | np.ndarray:
    return small[:, 0, SHIFT:-SHIFT, SHIFT:-SHIFT]


def _unit(pixels: Array) -> Array:
    """Zero mean and unit length, flattened, (N, H, W) -> (N, H * W); zeros where it is flat."""
    flat = _centred(pixels).reshape(len(pixels), -1)
    standard_deviation = jnp.sqrt((flat * flat).mean(-1, keepdims=True))
    return jnp.where(
        standard_deviation < FLAT,
        0,
        flat / (jnp.maximum(standard_deviation, FLAT) * flat.shape[-1] ** 0.5),
    )
