"""Numbers from the maps of an occlusion: means by pixel, peaks, and how they lie on an object."""

import numpy as np


def per_pixel_mean(
    values: np.ndarray, top_left: np.ndarray, size: int, shape: tuple[int, int]
) -> np.ndarray:
    """The mean over the squares that cover a pixel, as Captum's `Occlusion` gives it.

    Args:
      values: (rows, cols) float, a value for each position, such as the drop of a probability.
      top_left: (rows, cols, 2) int, the positions.
      size: the square's width and height, in pixels.
      shape: height and width of the picture.

    Returns:
      (H, W) float64; NaN where no square comes.
    """
    total, count = np.zeros(shape), np.zeros(shape)
    for value, (top, left) in zip(values.ravel(), top_left.reshape(-1, 2), strict=True):
        total[top : top + size, left : left + size] += value
        count[top : top + size, left : left + size] += 1
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def place_of_largest(values: np.ndarray) -> tuple[int, int]:
    """The row and column of the largest value, of equal ones the first."""
    row, col = np.unravel_index(values.argmax(), values.shape)
    return int(row), int(col)


def hidden_area(mask: np.ndarray, top_left: np.ndarray, size: int) -> np.ndarray:
    """How many pixels of an object each square hides.

    Args:
      mask: (H, W) bool, the object.
      top_left: (rows, cols, 2) int, the positions.
      size: the square's width and height, in pixels.

    Returns:
      (rows, cols) int.
    """
    sums = np.pad(mask.astype(int), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    top, left = top_left[..., 0], top_left[..., 1]
    below, right = top + size, left + size
    return sums[below, right] - sums[top, right] - sums[below, left] + sums[top, left]


def points_at(mask: np.ndarray, corner: np.ndarray, size: int) -> bool:
    """Whether a square's centre, of an even size the pixel after it, is in a mask (H, W) bool."""
    top, left = np.asarray(corner) + size // 2
    return bool(mask[top, left])


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two maps of one shape; 0 where one of them is constant."""
    a, b = (values.astype(float) - values.mean(dtype=float) for values in (one, other))
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
