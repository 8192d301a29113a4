"""Whether occlusion finds the object, in pictures whose object's pixels are known.

The pointing game of Zhang et al. 2016 (*Top-down neural attention by excitation backprop*), without
their tolerance: one pixel of the picture is named, and it is on the object or it is not.
"""

from typing import NamedTuple

import numpy as np

from zfnet_jax.analysis.occlusion import Occlusion
from zfnet_jax.analysis.occlusion_maps import (
    correlation,
    hidden_area,
    per_pixel_mean,
    place_of_largest,
    points_at,
)

SIZE, STRIDE = 10 / 224, 7 / 224
"""A square no wider than a thin part, and its steps, as shares of the input's width.

All squares that hide the whole of a part cause about the same drop, wherever their centres are. The
paper's square is five times as wide, so that its centre may lie far beside the part.
"""


class Pointing(NamedTuple):
    """Where an occlusion points, and whether that is on the object.

    Attributes:
      correct: whether the class is the most probable with nothing hidden.
      drop: the largest drop of the class's probability.
      centre: whether the centre of the square with that drop is on the object.
      peak: whether the pixel is whose covering squares have the largest mean drop.
      touches: whether the square with the largest drop hides any of the object.
      chance: the share of all squares whose centre is on the object.
      fullest: whether the centre of the square that hides the most of the object is on it; a net
        that used all of the object would point there.
      correlation: of the drops and the object's hidden area, over all positions.
    """

    correct: bool
    drop: float
    centre: bool
    peak: bool
    touches: bool
    chance: float
    fullest: bool
    correlation: float


def point(occlusion: Occlusion, label: int, mask: np.ndarray) -> Pointing:
    """Plays the pointing game with one picture.

    Where the square is wider than a part, the mean over the squares that cover a pixel has its peak
    nearer to the part than the centre of any one square, so that both are given.

    Args:
      occlusion: of the picture.
      label: the object's class.
      mask: (H, W) bool, the object.
    """
    drop, top_left, size = occlusion.drop(label), occlusion.top_left, occlusion.size
    area = hidden_area(mask, top_left, size)
    largest = place_of_largest(drop)
    mean = per_pixel_mean(drop, top_left, size, mask.shape)
    peak = place_of_largest(np.where(np.isnan(mean), -np.inf, mean))
    on_object = [points_at(mask, corner, size) for corner in top_left.reshape(-1, 2)]
    return Pointing(
        correct=int(occlusion.unoccluded.argmax()) == label,
        drop=float(drop[largest]),
        centre=points_at(mask, top_left[largest], size),
        peak=bool(mask[peak]),
        touches=bool(area[largest] > 0),
        chance=float(np.mean(on_object)),
        fullest=points_at(mask, top_left[place_of_largest(area)], size),
        correlation=correlation(drop, area),
    )
