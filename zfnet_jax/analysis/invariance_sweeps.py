"""Pictures of a data set moved, enlarged and turned, and what a net makes of them.

Zeiler & Fergus 2014, Fig 5 (v3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zfnet_jax.analysis.affine import TRANSFORMS
from zfnet_jax.analysis.invariance import Responses, respond_to_image_set, transformed_pixels
from zfnet_jax.data.labels import Label
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.networks.net import Net

Distance = Literal["relative", "euclidean"]

EXAMPLE_PICTURES = 5
"""Of how many pictures the transformed views are kept, as in the paper."""

EXAMPLE_VALUES = 5
"""For how many of a transformation's values they are kept."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """One transformation with some pictures.

    Attributes:
      values: (T,) float, by how much.
      responses: what the net makes of them, N pictures.
      examples: (P, E, H, W, 3) uint8, some of the pictures; P at most `EXAMPLE_PICTURES`.
      shown: (E,) int, by which of the values they are transformed.
    """

    values: np.ndarray
    responses: Responses
    examples: np.ndarray
    shown: np.ndarray

    def distances(self, layer: str, distance: Distance) -> np.ndarray:
        """(N, T) float32."""
        plain = self.responses.distance[layer]
        return plain if distance == "euclidean" else self.responses.relative(layer)


def sweep_pictures(
    net: Net,
    images: ImageSet,
    items: np.ndarray,
    labels: Sequence[Label | None],
    values: Mapping[str, np.ndarray],
    layers: Sequence[str],
    *,
    batch_size: int = 32,
) -> tuple[dict[str, Sweep], np.ndarray]:
    """Transforms pictures in several ways.

    Args:
      net: the net.
      images: the data set.
      items: (n,) int, which of its pictures.
      labels: the class of each, None where the predicted one is to be taken.
      values: by the name of a transformation in `TRANSFORMS`, by how much.
      layers: the layers' names.
      batch_size: about how many transformed pictures are seen at once.

    Returns:
      A sweep for each transformation, and the labels, (n,) int, all of them known.
    """
    numbers = np.array([label.number if label else -1 for label in labels])
    transforms = np.concatenate([TRANSFORMS[kind](by) for kind, by in values.items()])
    responses, numbers = respond_to_image_set(
        net, images, items, numbers, transforms, layers, batch_size=batch_size
    )
    examples = items[evenly_spaced(len(items), EXAMPLE_PICTURES)]
    sweeps, start = {}, 0
    for kind, by in values.items():
        columns = slice(start, start + len(by))
        start = columns.stop
        shown = evenly_spaced(len(by), EXAMPLE_VALUES)
        pixels = transformed_pixels(net, images, examples, TRANSFORMS[kind](by[shown]))
        sweeps[kind] = Sweep(by, responses.columns(columns), pixels, shown)
    return sweeps, numbers


def evenly_spaced(total: int, count: int) -> np.ndarray:
    """At most `count` numbers of 0..total - 1, evenly spaced with both ends."""
    return np.unique(np.linspace(0, total - 1, count).round().astype(int))
