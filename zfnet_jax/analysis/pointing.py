"""Whether occlusion finds the object, in pictures whose object's pixels are known.

The pointing game of Zhang et al. 2016 (*Top-down neural attention by excitation backprop*), without
their tolerance: one pixel of the picture is named, and it is on the object or it is not.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from zfnet_jax.analysis.occluded_pictures import Square
from zfnet_jax.analysis.occlusion import BATCH, Occlusion, occlude
from zfnet_jax.analysis.occlusion_maps import (
    correlation,
    hidden_area,
    per_pixel_mean,
    place_of_largest,
    points_at,
)
from zfnet_jax.analysis.winograd import fast_network
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.networks.function import network_input
from zfnet_jax.networks.net import Net

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


def play(
    net: Net,
    source: Shapes,
    items: np.ndarray,
    square: Square,
    *,
    batch_size: int = BATCH,
    description: str = "pointing",
) -> list[Pointing]:
    """Plays the pointing game with a net and drawn pictures.

    Args:
      net: the net.
      source: the embedded data set, which knows its objects' masks.
      items: which of its pictures.
      square: what hides.
      batch_size: positions at a time.
      description: of the progress bar.

    Returns:
      A result for each picture.
    """
    function, view = fast_network(net), network_input(net)
    layer = net.architecture.convolutions[-1].name
    # Drawn at the frame's size, its pictures need no resizing and its masks fit.
    drawn = replace(source, size=net.preprocessing.frame)
    results = []
    for item in tqdm(items, description, disable=None, leave=False, unit="picture"):
        scene = drawn.scene(int(item))
        image = np.asarray(view(scene.image[None]))[0]
        mask = centre_view(scene.object_mask[None], len(image))[0]
        occlusion = occlude(function, image, layer, **square._asdict(), batch_size=batch_size)
        results.append(point(occlusion, scene.label, mask))
    return results


def means(results: Sequence[Pointing]) -> dict[str, float]:
    """The mean of each of the results' fields over the pictures."""
    columns = zip(*results, strict=True)
    return {
        name: fmean(map(float, column))
        for name, column in zip(Pointing._fields, columns, strict=True)
    }


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
