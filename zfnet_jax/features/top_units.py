"""The top units of a net's feature maps over an image set, and their receptive fields."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from zfnet_jax.core.summary import summary
from zfnet_jax.features import mining
from zfnet_jax.features.mining import NO_IMAGE, LayerStatistics, Top
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.units import Units


class TopUnits(NamedTuple):
    """Some maps of a layer and their top k images, in a grid of M rows and k columns.

    Attributes:
      map_numbers: (M,) int.
      top: arrays of shape (M, k); entries without an image are last in their row.
    """

    map_numbers: np.ndarray
    top: Top

    def __repr__(self) -> str:
        return summary(self)

    @property
    def filled(self) -> np.ndarray:
        """Which entries of the grid hold an image, as numbers in row-major order."""
        return np.flatnonzero(self.top.image != NO_IMAGE)

    def units(self) -> Units:
        """The units of the entries that hold an image."""
        value, image, row, col, _ = (column.ravel()[self.filled] for column in self.top)
        maps = np.repeat(self.map_numbers, self.top.value.shape[1])[self.filled]
        return Units(image, row, col, maps, value)

    def of_rows(self, rows: np.ndarray) -> "TopUnits":
        """Some of the maps, by their rows in the grid."""
        return TopUnits(self.map_numbers[rows], Top(*(column[rows] for column in self.top)))


def responding_units(net: Net, tables: Mapping[str, LayerStatistics]) -> dict[str, TopUnits]:
    """The top units of all maps of the mined layers, without activations of 0."""
    units = {}
    for layer, (top, _) in tables.items():
        # A logit that is negative is a response all the same.
        kept = mining.only_positive(top) if getattr(net.architecture[layer], "relu", True) else top
        units[layer] = TopUnits(np.arange(len(top.value)), kept)
    return units


def image_numbers(top_units: Mapping[str, TopUnits]) -> np.ndarray:
    """The numbers of the pictures that hold a unit, ascending."""
    return np.unique(np.concatenate([units.units().image for units in top_units.values()]))


def field_size(arch: Architecture, layer: str) -> int:
    """The width of a unit's receptive field in pixels; of a dense layer's, the whole picture."""
    return arch.receptive_field(layer).size if arch.is_spatial(layer) else arch.input_size


def unit_box(arch: Architecture, layer: str, row: int, col: int) -> tuple[int, int, int, int]:
    """A unit's receptive field in the network's input; of a dense layer's, the whole picture."""
    if arch.is_spatial(layer):
        return arch.receptive_field(layer).box(row, col)
    return 0, 0, arch.input_size, arch.input_size
