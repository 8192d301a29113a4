"""Maps of an occlusion sweep as pictures: their colours, and where they lie over the picture."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from zfnet_jax.analysis.occlusion import Occlusion
from zfnet_jax.core.pixels import raw_to_pixels

COLOURS = (
    "#3b6fb6",
    "#e08a2e",
    "#4f9d69",
    "#b94a48",
    "#8468a8",
    "#c9b037",
    "#5fb3c4",
    "#d187a9",
)
"""Of labels: the class asked for has the first, the others by how many positions they have."""

OTHERS = "#b8b8b8"
"""Of the labels that are left when the colours are used up."""

NARROWEST = 0.05
"""The least difference of probabilities that dark and light stand for, lest noise looks large."""


def heat_range(values: np.ndarray, narrowest: float = 0.0) -> tuple[float, float]:
    """What is shown dark and light: the extremes, further apart where they are nearly the same."""
    high = float(values.max())
    return min(float(values.min()), high - narrowest), high


def heat_picture(values: np.ndarray, narrowest: float = 0.0) -> np.ndarray:
    """A map of values, (rows, cols), from dark to light, (rows, cols, 3) uint8.

    Args:
      values: any finite numbers.
      narrowest: the least difference of values that dark and light stand for.
    """
    import matplotlib

    low, high = heat_range(values, narrowest)
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return raw_to_pixels(255 * matplotlib.colormaps["inferno"](shares)[..., :3])


def label_colours(labels: np.ndarray, first: int) -> tuple[dict[int, str], Counter[int]]:
    """The colours of the labels of a map, and how many positions each label has.

    Args:
      labels: (rows, cols) int.
      first: the label that has the first colour, whether it is there or not.

    Returns:
      Colours for as many labels as there are; the other labels share `OTHERS`.
    """
    counts = Counter(labels.ravel().tolist())
    ordered = [first, *(label for label, _ in counts.most_common() if label != first)]
    return dict(zip(ordered, COLOURS, strict=False)), counts


def label_picture(labels: np.ndarray, colours: dict[int, str]) -> np.ndarray:
    """A map of labels, (rows, cols), in their colours, (rows, cols, 3) uint8."""
    from matplotlib.colors import to_rgb

    pixels = [to_rgb(colours.get(label, OTHERS)) for label in labels.ravel().tolist()]
    return (255 * np.array(pixels)).round().astype(np.uint8).reshape(*labels.shape, 3)


class Extent(NamedTuple):
    """Where something lies in a picture, in pixels from its left and upper edge."""

    left: float
    right: float
    bottom: float
    top: float


def map_extent(sweep: Occlusion) -> Extent:
    """Where a map of a sweep lies over its picture: each value at its square's centre."""
    first, last = sweep.top_left[0, 0], sweep.top_left[-1, -1]
    counts = np.array(sweep.activity.shape)
    # A single position has no step, and is shown as large as its square.
    steps = np.where(counts > 1, (last - first) / np.maximum(1, counts - 1), sweep.size)
    (top, left), (bottom, right) = (
        first + (sweep.size - steps) / 2,
        last + (sweep.size + steps) / 2,
    )
    return Extent(float(left), float(right), float(bottom), float(top))
