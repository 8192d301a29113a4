"""What a layer's feature maps did on many images: the top k images of each map, and a histogram.

Zeiler & Fergus 2014, Fig 2: for each map the largest activation in every image, and of these the k
largest (a choice: the paper does not say that an image counts once). The tables merge: associative
and commutative, so that batches, devices and hosts merge with one function and in any order.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from zfnet_jax.core.activations import expect_maps
from zfnet_jax.core.summary import summary
from zfnet_jax.zfnet.units import Units

NO_IMAGE = np.iinfo(np.int32).max
"""The image number of an entry without an image."""


EDGES = np.array([0, *2 ** (np.arange(-20, 41) / 2)], np.float32)
"""The histograms' edges: 0, then half octaves from 2**-10 to 2**20, the same for every map.

Bin i counts the largest activations above edge i - 1 and up to edge i, itself included: bin 0 those
that are not above 0, the last bin those above 2**20.
"""


class Top(NamedTuple):
    """For each of C maps its top k images, largest activation first; ties by image number.

    A map that has fewer images has entries without an image, which come last.

    Attributes:
      value: (C, k) float32, the activation; -inf without an image.
      image: (C, k) int32, the number of the image in the data set; `NO_IMAGE` without one.
      row: (C, k) int32, the row of the activation in the map; 0 without an image.
      col: (C, k) int32, its column; 0 without an image.
      label: (C, k) int32, the image's; -1 without an image, or where it has no label.
    """

    value: Any
    image: Any
    row: Any
    col: Any
    label: Any

    def __repr__(self) -> str:
        return summary(self)


class LayerStatistics(NamedTuple):
    """What a layer of C maps did on some images.

    Attributes:
      top: the top k images of each map.
      histogram: (C, len(EDGES) + 1) int32, how many images have their largest activation in a bin.
    """

    top: Top
    histogram: Any

    def __repr__(self) -> str:
        return summary(self)


EMPTY = Top(np.float32(-np.inf), *np.array([NO_IMAGE, 0, 0, -1], np.int32))


def batch_statistics(maps: Array, images: Array, labels: Array, k: int) -> LayerStatistics:
    """A layer's statistics over one batch.

    Args:
      maps: the activations, (N, rows, cols, C), or (N, C) of a dense layer, whose row and column
        are 0.
      images: (N,) int32, the images' numbers in the data set, each once; negative for rows that
        only fill the batch and count nowhere.
      labels: (N,) int32, the images' labels; -1 where there is none.
      k: how many images are kept.

    Returns:
      Tables of C maps. Of equal values in one map the first position in row-major order counts. A
      map with a NaN has the value NaN, which is above every number, so that it is noticed.

    Raises:
      ValueError: the activations have another number of axes.
    """
    expect_maps("maps", maps.shape)
    maps = maps if maps.ndim == 4 else maps[:, None, None]
    # First the row, then the column: an argmax over whole maps takes a CPU three times as long.
    row = lax.argmax(maps.max(axis=2), 1, jnp.int32)
    pixels = jnp.take_along_axis(maps, row[:, None, None], axis=1)[:, 0]
    value, col = pixels.max(axis=1).astype(jnp.float32), lax.argmax(pixels, 1, jnp.int32)
    columns = Top(value, images[:, None], row, col, labels[:, None])
    counts = jnp.broadcast_to((images >= 0)[:, None], value.shape)
    top = Top(*(jnp.where(counts, *pair).T for pair in zip(columns, EMPTY, strict=True)))
    above = (top.value[..., None] > EDGES).sum(axis=1, dtype=jnp.int32)
    total = counts.sum(axis=0, dtype=jnp.int32)[:, None]
    histogram = -jnp.diff(above, axis=1, prepend=total, append=0)
    return LayerStatistics(_top_k(top, k), histogram)


def merge(one: LayerStatistics, other: LayerStatistics) -> LayerStatistics:
    """A layer's statistics over two sets of different images together."""
    both = Top(*(jnp.concatenate(pair, axis=1) for pair in zip(one.top, other.top, strict=True)))
    return LayerStatistics(_top_k(both, one.top.value.shape[1]), one.histogram + other.histogram)


def _top_k(top: Top, k: int) -> Top:
    """The k entries of largest value of each map, (C, n) -> (C, k)."""
    missing = max(0, k - top.value.shape[1])
    value, image, row, col, label = (
        jnp.pad(column, ((0, 0), (0, missing)), constant_values=fill)
        for column, fill in zip(top, EMPTY, strict=True)
    )
    # Ascending and then reversed: a sort puts NaN last.
    value, image, *rest = lax.sort((value, -image, row, col, label), num_keys=2)
    return Top(*(column[:, ::-1][:, :k] for column in (value, -image, *rest)))


def only_positive(top: Top) -> Top:
    """The table without the images whose activation is 0: after a ReLU that is no response."""
    return Top(
        *(np.where(top.value > 0, column, fill) for column, fill in zip(top, EMPTY, strict=True))
    )


def top_units(
    statistics: LayerStatistics, *, map_numbers: Sequence[int] | None = None, k: int | None = None
) -> tuple[np.ndarray, Units]:
    """The top units of some maps, with their images numbered by their position in one batch.

    `mine` numbers the images of the data set, a projection those of the batch that it is given::

        numbers, units = top_units(statistics, map_numbers=[3, 17], k=2)
        patches = transform.project_units(function, images[numbers], "block3", units)

    Args:
      statistics: a layer's, from `mine`.
      map_numbers: which maps, in this order; None for all.
      k: how many images of each map, at most those that were mined; None for all of them.

    Returns:
      The numbers of the images that hold these units, (n,) int32, ascending; and the units, map by
      map, largest activation first, whose `image` is a position in these numbers. Entries without
      an image and activations of 0 are left out.

    Raises:
      ValueError: there is no such map, or fewer images were mined.
    """
    top = only_positive(statistics.top)
    channels, mined = top.value.shape
    rows = np.arange(channels) if map_numbers is None else np.array(map_numbers, int)
    for number in rows:
        if not 0 <= number < channels:
            raise ValueError(f"map {number}: expected 0..{channels - 1}")
    if k is not None and not 1 <= k <= mined:
        raise ValueError(f"k {k}: expected 1..{mined}, the images that were mined of each map")
    value, image, row, col, _ = (column[rows, :k].ravel() for column in top)
    filled = image != NO_IMAGE
    numbers, positions = np.unique(image[filled], return_inverse=True)
    maps = np.repeat(rows, k or mined)[filled].astype(np.int32)
    units = Units(positions.astype(np.int32), row[filled], col[filled], maps, value[filled])
    return numbers, units
