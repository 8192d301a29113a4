"""How consistently nets answer to a part that is hidden, beside as much hidden elsewhere.

Zeiler & Fergus 2014, section 4.3 and Table 1 (v3 only).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from zfnet_jax.analysis.correspondence import Consistency, at_random, consistency
from zfnet_jax.analysis.parts import Part
from zfnet_jax.networks.function import network
from zfnet_jax.networks.net import Net

PART, RANDOM = "part", "random place"


class HiddenPart(NamedTuple):
    """What hiding a part does, and hiding as much elsewhere.

    Attributes:
      name: the part's.
      pictures: in how many.
      nets: by net, by what was hidden (`PART` or `RANDOM`), by layer.
    """

    name: str
    pictures: int
    nets: Mapping[str, Mapping[str, Mapping[str, Consistency]]]


def hide_part(
    nets: Mapping[str, Net],
    images: np.ndarray,
    part: Part,
    layers: Sequence[str],
    *,
    random: int,
    seed: int,
    batch_size: int = 32,
) -> HiddenPart:
    """Hides a part in the pictures that show it, and as much at random places.

    Args:
      nets: by name, of one input.
      images: (n, size, size, 3) float32, network space, those that show the part.
      part: which, and where.
      layers: the layers' names.
      random: at how many random places as much is hidden.
      seed: of these.
      batch_size: images at a time.

    Returns:
      Both consistencies of each net.
    """
    by_net = {}
    for name, net in nets.items():
        hidden = {PART: [part.masks], RANDOM: at_random(part.masks, random, seed)}
        by_net[name] = consistency(network(net), images, hidden, layers, batch_size=batch_size)
    return HiddenPart(part.name, len(images), by_net)
