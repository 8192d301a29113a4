"""What a layer's feature maps respond to: their strongest units, projected, beside the pictures.

Zeiler & Fergus 2014, section 4 and Fig 2.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.features.mining import Top
from zfnet_jax.features.top_units import (
    TopUnits,
    cut_patches_to_files,
    mine_image_set,
    project_units_to_files,
    responding_units,
    unit_box,
)
from zfnet_jax.networks.net import Net


@dataclass(frozen=True, eq=False)
class Panel:
    """M feature maps of one layer, each with the projections of its k strongest units.

    Attributes:
      layer: its name.
      map_numbers: (M,) int, which maps.
      top: their strongest units, arrays of shape (M, k); empty places have the value -inf.
      projections: (M, k, field, field, 3) float32, network space; zeros for an empty place.
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
        """The numbers of the layer's maps that no image excites."""
        return np.flatnonzero(np.isneginf(self.largest_activation))


def make_panel(
    net: Net,
    frames: ImageSet,
    layer: str,
    *,
    top: int = 9,
    map_count: int = 16,
    map_numbers: Sequence[int] = (),
    batch_size: int = 32,
    **options: Any,
) -> Panel:
    """Mines a data set for the strongest units of a layer and projects them.

    Args:
      net: the trained net.
      frames: the pictures; each is seen through the centre view.
      layer: any layer's name; a unit of a dense layer has the whole picture as its field.
      top: how many images are kept for each map.
      map_count: how many maps, those with the strongest activations, strongest first.
      map_numbers: these maps instead, in this order.
      batch_size: images a step.
      **options: of `deconvnet.project`.

    Returns:
      The panel.

    Raises:
      ValueError: there is no such layer or map.
    """
    arch = net.architecture
    width = arch.shapes(len(net.class_names))[arch[layer].name][-1]
    for number in map_numbers:
        if not 0 <= number < width:
            raise ValueError(f"map {number}: expected 0..{width - 1}, {layer} has {width} maps")
    tables = mine_image_set(net, frames, [layer], top, batch_size=batch_size)
    assert tables is not None, "nothing stops it"
    everything = responding_units(net, tables)[layer]
    strongest = everything.top.value[:, 0]
    rows = (
        np.array(map_numbers, int)
        if map_numbers
        else np.argsort(-strongest, kind="stable")[:map_count]
    )
    kept = TopUnits(rows, Top(*(column[rows] for column in everything.top)))
    boxes = [
        [unit_box(arch, layer, *place) for place in zip(*row, strict=True)]
        for row in zip(kept.top.row.tolist(), kept.top.col.tolist(), strict=True)
    ]
    with tempfile.TemporaryDirectory() as work:
        places = Path(work, "projections"), Path(work, "patches")
        for place in places:
            place.mkdir()
        given = {layer: kept}
        projected = project_units_to_files(net, frames, given, places[0], **options)[layer]
        cut = cut_patches_to_files(net, frames, given, places[1])[layer]
        projections, patches = np.load(projected.path), np.load(cut.path)
    return Panel(layer, rows, kept.top, projections, patches, np.array(boxes, np.int32), strongest)
