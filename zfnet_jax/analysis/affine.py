"""Affine transforms of pictures: translations, scales and rotations about their centre.

An affine transform is a (2, 3) matrix A: the pixel at p = (row, column), from the picture's centre,
is taken from A[:, :2] @ p + A[:, 2] of the original.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates

IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


def translations(pixels: np.ndarray) -> np.ndarray:
    """Affine transforms, (T, 2, 3) float32, that move down by so many pixels, (T,)."""
    transforms = np.tile(IDENTITY, (len(pixels), 1, 1))
    transforms[:, 0, 2] = -np.asarray(pixels)
    return transforms


def scales(factors: np.ndarray) -> np.ndarray:
    """Affine transforms, (T, 2, 3) float32, that enlarge about the centre by factors (T,) above 0.

    Below 1 a picture becomes smaller, without being smoothed before.
    """
    return (IDENTITY / np.asarray(factors, float)[:, None, None]).astype(np.float32)


def rotations(degrees: np.ndarray) -> np.ndarray:
    """Affine transforms, (T, 2, 3) float32, that turn counterclockwise about the centre, (T,)."""
    angles = np.deg2rad(degrees)
    cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    rows = np.stack([cos, sin, zero], -1), np.stack([-sin, cos, zero], -1)
    return np.stack(rows, 1).astype(np.float32)


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "translation": translations,
    "scale": scales,
    "rotation": rotations,
}
"""From the values of each kind of the paper's transformations to affine transforms."""


def warp(images: Array, transforms: Array) -> Array:
    """Transforms pictures, bilinearly; what comes from outside of them is 0.

    Args:
      images: (N, H, W, C) float.
      transforms: affine, (T, 2, 3) float32. The identity gives the very same picture.

    Returns:
      (T, N, H, W, C).
    """
    middle = [(side - 1) / 2 for side in images.shape[1:3]]
    rows, cols = (jnp.arange(side) - m for side, m in zip(images.shape[1:3], middle, strict=True))

    def transformed(matrix: Array) -> Array:
        # Not as a product of matrices, which an accelerator rounds.
        coordinates = [
            matrix[axis, 0] * rows[:, None] + matrix[axis, 1] * cols + matrix[axis, 2] + center
            for axis, center in enumerate(middle)
        ]
        channel = functools.partial(
            map_coordinates, coordinates=coordinates, order=1, mode="constant"
        )
        return jax.vmap(jax.vmap(channel, -1, -1))(images)

    return jax.vmap(transformed)(transforms)
