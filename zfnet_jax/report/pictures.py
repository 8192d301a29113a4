"""Signed arrays to pictures: zero is mid-grey, the scale is symmetric and stated.

A projection has no units that an eye knows, so it has to be scaled. Stretching each patch from its
minimum to its maximum would move zero off grey and blow a dead map's noise up to full contrast;
here zero always is 127.5, and whoever scales says by how much.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

GREY = 127.5
"""What zero looks like, 0..255."""

_EXACT = 100 * 100 * 3  # values of a picture that is too small to lose any


def symmetric_scale(patches: np.ndarray, quantile: float = 1.0) -> float:
    """The magnitude that is shown as black or white; 0 where all is zero.

    Args:
      patches: any array of signed values.
      quantile: of the magnitudes of the values that are not zero; below 1 a few outliers clip.
    """
    magnitudes = np.abs(patches[patches != 0])
    return float(np.quantile(magnitudes, quantile)) if magnitudes.size else 0.0


def signed_to_pixels(patches: np.ndarray, scale: float) -> np.ndarray:
    """Shows signed values: -scale is black, 0 mid-grey, scale white; uint8 of the same shape."""
    shares = patches / scale if scale else np.zeros_like(patches)
    return np.clip(GREY + GREY * shares, 0, 255).round().astype(np.uint8)


def enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Repeats every pixel of (..., H, W, 3) `factor` times along both axes."""
    return pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)


def tile(
    tiles: Sequence[np.ndarray] | np.ndarray, columns: int, gap: int = 1, fill: int = 255
) -> np.ndarray:
    """Lays pictures of one size out in rows.

    Args:
      tiles: pictures, (H, W, 3) uint8.
      columns: how many in a row; the last row may be shorter.
      gap: pixels between them.
      fill: the value of the gaps, 0..255.

    Returns:
      One picture, uint8.
    """
    high, wide = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full(
        (rows * (high + gap) - gap, columns * (wide + gap) - gap, 3), fill, dtype=np.uint8
    )
    for number, picture in enumerate(tiles):
        row, col = divmod(number, columns)
        top, left = row * (high + gap), col * (wide + gap)
        sheet[top : top + high, left : left + wide] = picture
    return sheet


def filter_sheet(kernel: np.ndarray, width: int = 700) -> np.ndarray:
    """The first layer's filters side by side, scaled jointly, as in Zeiler & Fergus 2014, Fig 2.

    Args:
      kernel: (size, size, 3, filters) float; filters that read RGB.
      width: about how wide the picture is to be, in pixels.

    Returns:
      One picture, uint8.
    """
    filters = np.moveaxis(np.asarray(kernel), -1, 0)
    columns = math.ceil(math.sqrt(len(filters) * 1.5))
    factor = max(1, width // (columns * (kernel.shape[0] + 1)))
    pixels = signed_to_pixels(filters, symmetric_scale(filters))
    return tile(enlarge(pixels, factor), columns, gap=max(1, factor // 2))


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes a picture, (H, W, 3) uint8, in the format of the path's suffix.

    A .webp of few pixels is exact; in a larger one nobody sees what is lost.
    """
    options = {"quality": 60, "lossless": pixels.size < _EXACT} if path.suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, **options)


def save_small(path: Path, pixels: np.ndarray, width: int) -> None:
    """Writes a picture, (H, W, 3) uint8, resized to a width in pixels if it is wider."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((width, picture.height))
    save(path, np.asarray(picture))
