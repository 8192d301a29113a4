"""The other panels of Zeiler & Fergus 2014, Fig 7: the square's picture, and projections."""

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
from zfnet_jax.zfnet.units import Units

OTHERS = 3
"""Other pictures whose projections are shown, as in the paper."""


def fully_hidden_picture(net: Net, value: float) -> np.ndarray:
    """The picture whose every pixel has a value in network space, (size, size, 3) uint8."""
    size, preprocessing = net.architecture.input_size, net.preprocessing
    top, left = corners(preprocessing.frame, size)[-1].tolist()
    pixels = preprocessing.undo(jnp.full((size, size, 3), value), (top, left))
    return raw_to_pixels(np.asarray(pixels))


def project_top_units(
    net: Net, images: np.ndarray, layer: str, occlusions: Sequence[Occlusion]
) -> np.ndarray:
    """Projects the top unit that each picture has in its map.

    Args:
      net: the net.
      images: (N, size, size, 3) float32, network space.
      layer: the maps' layer.
      occlusions: of these pictures, which name the units.

    Returns:
      (N, field, field, 3) float32, network space.
    """
    units = Units.of(
        [
            (number, unit.row, unit.col, unit.map, unit.value)
            for number, unit in enumerate(occlusion.unit for occlusion in occlusions)
        ]
    )
    parts = list(project_all(net, lambda items: jnp.asarray(images[items]), {layer: units}))
    order = np.argsort(np.concatenate([part.positions for part in parts]))
    return np.concatenate([part.patches for part in parts])[order]


def top_units_in_other_pictures(
    panel: Panel, image_set: ImageSet, map_number: int, picture: np.ndarray
) -> list[tuple[int, int]]:
    """Where in a panel a map's top units in other pictures are.

    Args:
      panel: with one image more of each map than are wanted, since the picture itself may be there.
      image_set: the pictures that it was made from.
      map_number: the map.
      picture: (size, size, 3) uint8, what the net sees of the picture that is left out.

    Returns:
      At most `OTHERS` pairs of a row and a column of the panel, largest activation first.
    """
    row = int(np.flatnonzero(panel.map_numbers == map_number)[0])
    entries = []
    for column, image in enumerate(panel.top.image[row].tolist()):
        if image != NO_IMAGE:
            view = centre_view(image_set.read(image)[0][None], len(picture))[0]
            if not np.array_equal(view, picture):
                entries.append((row, column))
    return entries[:OTHERS]
