"""Units: single activations, by image, row, column and map."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from zfnet_jax.core.summary import summary


class Units(NamedTuple):
    """Single activations to project, as arrays of one length U.

    Attributes:
      image: (U,) int, the position of the unit's image in the batch.
      row: (U,) int, the row of the unit in its map; 0 in a dense layer.
      col: (U,) int, the column of the unit in its map; 0 in a dense layer.
      map: (U,) int, the feature map.
      value: (U,) float, what to send down: the activation itself, or 1.
    """

    image: Array | np.ndarray
    row: Array | np.ndarray
    col: Array | np.ndarray
    map: Array | np.ndarray
    value: Array | np.ndarray

    def __repr__(self) -> str:
        return summary(self)

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> "Units":
        """Units from tuples (image, row, col, map, value), one for each unit.

        Raises:
          ValueError: a tuple has another number of values.
        """
        for unit in rows:
            if len(unit) != len(cls._fields):
                raise ValueError(f"unit {unit}: expected ({', '.join(cls._fields)})")
        image, row, col, channel = np.array([unit[:4] for unit in rows], np.int32).reshape(-1, 4).T
        return cls(image, row, col, channel, np.array([unit[4] for unit in rows], np.float32))


def checked_units(units: Units, layer: str, shape: tuple[int | None, ...]) -> Units:
    """The units as arrays, after a check that they are units of a layer.

    Under `jax.jit` the numbers are not known while the function is traced, and are not checked:
    there an index out of range takes the nearest one or gives zeros, as everywhere in JAX.

    Args:
      units: the units.
      layer: the layer's name, for the message.
      shape: of its activations, (N, rows, cols, C), or (N, C) of a dense layer, where row and
        column are 0; None in place of N where images are not numbered by their batch.

    Returns:
      The same units.

    Raises:
      ValueError: they are no `Units`, their arrays differ in length, or a number is out of range.
    """
    if not isinstance(units, Units):
        raise ValueError(
            f"units of type {type(units).__name__}: expected Units; "
            "Units.of([(image, row, col, map, value), ...]) makes them"
        )
    units = Units(
        *(column if isinstance(column, Array) else np.asarray(column) for column in units)
    )
    lengths = [column.shape for column in units]
    if len(set(lengths)) != 1 or len(lengths[0]) != 1:
        raise ValueError(f"units of shapes {lengths}: expected arrays of one length")
    images, rows, cols, maps = shape if len(shape) == 4 else (shape[0], 1, 1, shape[-1])
    for name, limit in (("image", images), ("row", rows), ("col", cols), ("map", maps)):
        column = getattr(units, name)
        if not np.issubdtype(column.dtype, np.integer):
            raise ValueError(f"units' {name} of type {column.dtype}: expected whole numbers")
        numbers = _known(column)
        if limit is None:
            continue
        outside = np.flatnonzero((numbers < 0) | (numbers >= limit))
        if outside.size:
            raise ValueError(
                f"unit {outside[0]}: {name} {numbers[outside[0]]}, expected 0..{limit - 1}; "
                f"the activations of {layer} have the shape {shape}"
            )
    return units


def _known(column: Array | np.ndarray) -> np.ndarray:
    """An array's values; none while a function is traced, when they are not known."""
    try:
        return np.asarray(column)
    except jax.errors.TracerArrayConversionError:
        return np.zeros(0, int)
