"""The strongest activations of every feature map over a data set, in one streaming pass.

Zeiler & Fergus 2014, Fig 2: for each map the best position of every image, and of these the k
strongest images (a choice: the paper does not say that an image counts once). What is kept is a
small table that merges: associative, commutative, so that the order of batches does not matter.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

NOWHERE = np.iinfo(np.int32).max
"""The image number of an empty place."""


class Top(NamedTuple):
    """For each of C maps its k strongest images, strongest first; ties by image number.

    Attributes:
      value: (C, k) float32, the activation; -inf in an empty place.
      image: (C, k) int32, the number of the image in the data set.
      row: (C, k) int32, where in the map it was.
      col: (C, k) int32.
    """

    value: Any
    image: Any
    row: Any
    col: Any


_EMPTY = Top(value=-np.inf, image=NOWHERE, row=0, col=0)


def top_of(maps: Array, images: Array, k: int) -> Top:
    """The strongest images of one batch.

    Args:
      maps: (N, rows, cols, C), or (N, C) where the layer is dense, whose row and column are 0.
      images: (N,) int32, the images' numbers in the data set; negative for rows that only fill the
        batch.
      k: how many are kept.

    Returns:
      Arrays of shape (C, k). Of equal values in one map the first position in row-major order wins.
    """
    count, maps_count = maps.shape[0], maps.shape[-1]
    cols = maps.shape[2] if maps.ndim == 4 else 1
    flat = maps.reshape(count, -1, maps_count)
    place = flat.argmax(axis=1).T.astype(jnp.int32)
    value = jnp.where(images >= 0, flat.max(axis=1).T.astype(jnp.float32), -jnp.inf)
    image = jnp.broadcast_to(jnp.where(images >= 0, images, NOWHERE), value.shape)
    return _best(Top(value, image.astype(jnp.int32), place // cols, place % cols), k)


def merge(one: Top, other: Top) -> Top:
    """The strongest of two tables over different images."""
    both = Top(*(jnp.concatenate(pair, axis=1) for pair in zip(one, other, strict=True)))
    return _best(both, one.value.shape[1])


def only_positive(top: Top) -> Top:
    """The table with empty places where an activation is 0: after a ReLU that is no response."""
    return Top(
        *(np.where(top.value > 0, column, fill) for column, fill in zip(top, _EMPTY, strict=True))
    )


def _best(top: Top, k: int) -> Top:
    missing = k - top.value.shape[1]
    if missing > 0:
        top = Top(
            *(
                jnp.pad(column, ((0, 0), (0, missing)), constant_values=fill)
                for column, fill in zip(top, _EMPTY, strict=True)
            )
        )
    order = jnp.lexsort((top.image, -top.value))[:, :k]
    return Top(*(jnp.take_along_axis(column, order, axis=1) for column in top))


def mine(
    activations: Callable[[Array], Array], batches: Iterable[tuple[Any, Any]], k: int = 9
) -> Top:
    """The strongest images of every map of a layer.

    Args:
      activations: images -> the layer's output, (N, rows, cols, C) or (N, C); compiled.
      batches: (images, their numbers), numbers negative for rows that only fill a batch.
      k: how many are kept for each map.

    Returns:
      The table, as NumPy arrays.

    Raises:
      ValueError: there are no batches.
    """
    add = jax.jit(merge)
    find = jax.jit(top_of, static_argnames="k")
    top: Top | None = None
    for images, numbers in batches:
        found = find(activations(images), jnp.asarray(numbers, jnp.int32), k=k)
        top = found if top is None else add(top, found)
    if top is None:
        raise ValueError("no batches: expected at least one image")
    return Top(*(np.asarray(column) for column in top))
