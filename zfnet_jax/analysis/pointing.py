"""Whether occlusion finds the object, where it is known which pixels are the object's.

The pointing game of Zhang et al. 2016 (*Top-down neural attention by excitation backprop*), without
their tolerance: one place of the picture is named, and it is on the object or it is not.
"""

from typing import NamedTuple

import numpy as np

from zfnet_jax.analysis.occlusion import (
    Occlusion,
    correlation,
    hidden_area,
    per_pixel_mean,
    place_of_largest,
    points_at,
)

SIZE, STRIDE = 10 / 224, 7 / 224
"""A square no wider than a thin part, and its steps, as shares of the input's width.

All squares that hide the whole of a part cost about the same, wherever their centres are: the
paper's square, five times as wide, may have its own as far beside the part.
"""


class Pointing(NamedTuple):
    """What a sweep says of where an object is.

    Attributes:
      correct: whether the class is the most probable with nothing hidden.
      drop: the largest drop of the class's probability.
      centre: whether the centre of the square with that drop is on the object.
      peak: whether the pixel is whose covering squares have the largest mean drop.
      touches: whether the square with the largest drop hides any of the object.
      chance: the share of all squares whose centre is on the object.
      fullest: whether the centre of the square that hides the most of the object is on it, which a
        net that knew all of the object would point at.
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


def point(found: Occlusion, label: int, mask: np.ndarray) -> Pointing:
    """Plays the pointing game with one picture.

    Where the square is wider than a part, the mean over the squares that cover a pixel has its peak
    nearer to the part than the centre of any one, so that both are given.

    Args:
      found: the sweep.
      label: the object's class.
      mask: (H, W) bool, the object.
    """
    drop, area = found.drop(label), hidden_area(mask, found.top_left, found.size)
    place = place_of_largest(drop)
    mean = per_pixel_mean(drop, found.top_left, found.size, mask.shape)
    peak = place_of_largest(np.where(np.isnan(mean), -np.inf, mean))
    centres = [points_at(mask, each, found.size) for each in found.top_left.reshape(-1, 2)]
    return Pointing(
        correct=int(found.unoccluded.argmax()) == label,
        drop=float(drop[place]),
        centre=points_at(mask, found.top_left[place], found.size),
        peak=bool(mask[peak]),
        touches=bool(area[place] > 0),
        chance=float(np.mean(centres)),
        fullest=points_at(mask, found.top_left[place_of_largest(area)], found.size),
        correlation=correlation(drop, area),
    )
