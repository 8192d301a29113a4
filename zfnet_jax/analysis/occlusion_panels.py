"""What stands beside the maps in Zeiler & Fergus 2014, Fig 7: the square, and projections."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from zfnet_jax.analysis.occlusion import Occlusion
from zfnet_jax.core.pixels import raw_to_pixels
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import centre_view, corners
from zfnet_jax.features.feature_maps import Panel
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.features.projection import project_all
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.deconvnet import Units

OTHERS = 3
"""Other pictures whose projections are shown, as in the paper."""


def fully_hidden_picture(net: Net, value: float) -> np.ndarray:
    """The picture whose every pixel has a value in network space, (size, size, 3) uint8."""
    size, given = net.architecture.input_size, net.preprocessing
    top, left = corners(given.frame, size)[-1].tolist()
    grey = jnp.full((size, size, 3), value)
    return raw_to_pixels(np.asarray(given.undo(grey, (top, left))))


def project_top_units(
    net: Net, images: np.ndarray, layer: str, found: Sequence[Occlusion]
) -> np.ndarray:
    """Projects the strongest unit that each picture has in its map.

    Args:
      net: the net.
      images: (N, size, size, 3) float32, network space.
      layer: the maps' layer.
      found: N sweeps, which name the units.

    Returns:
      (N, field, field, 3) float32, network space.
    """
    columns = {
        name: np.array([getattr(each.unit, name) for each in found])
        for name in ("row", "col", "map", "value")
    }
    units = Units(np.arange(len(found)), **columns)
    parts = list(project_all(net, lambda items: jnp.asarray(images[items]), {layer: units}))
    order = np.argsort(np.concatenate([part.positions for part in parts]))
    return np.concatenate([part.patches for part in parts])[order]


def top_units_in_other_pictures(
    panel: Panel, frames: ImageSet, number: int, picture: np.ndarray
) -> list[tuple[int, int]]:
    """Where in a panel a map's strongest units in other pictures are.

    Args:
      panel: of one more place a map than are wanted, since the picture itself may be among them.
      frames: the pictures that it was made from.
      number: the map.
      picture: (size, size, 3) uint8, what the net sees of the one that is no other picture.

    Returns:
      At most `OTHERS` pairs of a row of the panel and a place in it, strongest first.
    """
    row = int(np.flatnonzero(panel.map_numbers == number)[0])
    places = []
    for place, image in enumerate(panel.top.image[row].tolist()):
        if image != NO_IMAGE:
            view = centre_view(frames.read(image)[0][None], len(picture))[0]
            if not np.array_equal(view, picture):
                places.append((row, place))
    return places[:OTHERS]
