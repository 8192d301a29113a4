"""What a layer's feature maps respond to: the projections of their top units, and the pictures.

Zeiler & Fergus 2014, section 4 and Fig 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.features.image_set_mining import mine_image_set
from zfnet_jax.features.mining import Top
from zfnet_jax.features.projection import PAPER
from zfnet_jax.features.top_units import responding_units, unit_box
from zfnet_jax.features.unit_pixels import project_and_cut
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet


@dataclass(frozen=True, eq=False)
class Panel:
    """M feature maps of one layer, each with the projections of its top k units.

    Attributes:
      layer: its name.
      map_numbers: (M,) int.
      top: their top units, arrays of shape (M, k).
      projections: (M, k, field, field, 3) float32, network space; zeros without an image.
      patches: (M, k, field, field, 3) uint8, the pictures' own pixels there.
      boxes: (M, k, 4) int32, where in the network's input.
      largest_activation: (C,) float32, of every map of the layer; -inf where there is none.
    """

    layer: str
    map_numbers: np.ndarray
    top: Top
    projections: np.ndarray
    patches: np.ndarray
    boxes: np.ndarray
    largest_activation: np.ndarray

    @property
    def dead(self) -> np.ndarray:
        """The numbers of the layer's maps that respond to no image."""
        return np.flatnonzero(np.isneginf(self.largest_activation))


def make_panel(
    net: Net,
    image_set: ImageSet,
    layer: str,
    *,
    top: int = 9,
    map_count: int = 16,
    map_numbers: Sequence[int] = (),
    batch_size: int = 32,
    options: deconvnet.Options = PAPER,
) -> Panel:
    """Mines an image set for the top units of a layer and projects them.

    Args:
      net: the trained net.
      image_set: the pictures; the net sees the centre view of each.
      layer: any layer's name; a unit of a dense layer has the whole picture as its field.
      top: how many images are kept for each map.
      map_count: how many maps, those with the largest activations, largest first.
      map_numbers: these maps instead, in this order.
      batch_size: images a step.
      options: of the deconvnet.

    Returns:
      The panel.

    Raises:
      ValueError: there is no such layer or map.
    """
    arch = net.architecture
    channels = arch.shapes(len(net.class_names))[arch[layer].name][-1]
    for number in map_numbers:
        if not 0 <= number < channels:
            raise ValueError(
                f"map {number}: expected 0..{channels - 1}, {layer} has {channels} maps"
            )
    tables = mine_image_set(net, image_set, [layer], top, batch_size=batch_size)
    all_maps = responding_units(net, tables)[layer]
    largest = all_maps.top.value[:, 0]
    by_activation = np.argsort(-largest, kind="stable")[:map_count]
    shown = all_maps.of_rows(np.array(map_numbers, int) if map_numbers else by_activation)
    boxes = [
        [unit_box(arch, layer, row, col) for row, col in zip(rows, cols, strict=True)]
        for rows, cols in zip(shown.top.row.tolist(), shown.top.col.tolist(), strict=True)
    ]
    projections, patches = project_and_cut(net, image_set, layer, shown, options)
    return Panel(
        layer=layer,
        map_numbers=shown.map_numbers,
        top=shown.top,
        projections=projections,
        patches=patches,
        boxes=np.array(boxes, np.int32),
        largest_activation=largest,
    )
