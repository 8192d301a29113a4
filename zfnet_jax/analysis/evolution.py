"""How feature maps came about: the top unit of each at several epochs of training.

Zeiler & Fergus 2014, section 4.1 and Fig 4: "the strongest activation (across all training
examples) within a given feature map projected back to pixel space". Jumps come from a change of the
image that the strongest activation is in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.features.image_set_mining import mine_image_set
from zfnet_jax.features.mining import NO_IMAGE, Top
from zfnet_jax.features.top_units import TopUnits, responding_units
from zfnet_jax.features.unit_pixels import project_units_to_files
from zfnet_jax.training import checkpoint


@dataclass(frozen=True, eq=False)
class Evolution:
    """Some maps of a layer at several epochs.

    Attributes:
      map_numbers: (M,) int.
      epochs: E of them, ascending.
      tops: for each epoch the top unit, arrays of shape (M, 1).
      projections: for each epoch (M, 1, field, field, 3) float32, in network space.
    """

    map_numbers: np.ndarray
    epochs: tuple[int, ...]
    tops: tuple[Top, ...]
    projections: tuple[ArrayFile, ...]

    @property
    def filled(self) -> np.ndarray:
        """Where an image excites a map, (M, E) bool."""
        return np.concatenate([top.image != NO_IMAGE for top in self.tops], axis=1)

    def strip(self, row: int) -> np.ndarray:
        """One map's projections, (E, field, field, 3) float32, by its row."""
        return np.stack([file.read(row, 1)[0] for file in self.projections])

    def strips(self) -> np.ndarray:
        """All maps' projections, (M, E, field, field, 3) float32."""
        return np.stack([file.read(0, len(self.map_numbers)) for file in self.projections], axis=1)


def evolve(
    snapshots: Mapping[int, Path],
    image_set: ImageSet,
    layers: Sequence[str],
    folder: Path,
    pick: Callable[[TopUnits], np.ndarray] = lambda units: np.arange(len(units.map_numbers)),
    *,
    batch_size: int = 32,
) -> dict[str, Evolution]:
    """Mines the training set with each snapshot of a run and projects the top units.

    Args:
      snapshots: by epoch, a net of the run.
      image_set: the training pictures.
      layers: the layers' names.
      folder: where the projections go.
      pick: from all maps of a layer at the last epoch to those that are followed, as rows; all by
        default.
      batch_size: images a step.

    Returns:
      By layer, the evolution of its maps.
    """
    epochs = tuple(sorted(snapshots))
    tops: dict[str, list[Top]] = {layer: [] for layer in layers}
    files: dict[str, list[ArrayFile]] = {layer: [] for layer in layers}
    rows: dict[str, np.ndarray] = {}
    for epoch in reversed(epochs):  # the last first, since it decides which maps are followed
        net = checkpoint.load(snapshots[epoch])
        tables = mine_image_set(net, image_set, layers, 1, batch_size=batch_size)
        all_maps = responding_units(net, tables)
        rows = rows or {layer: pick(units) for layer, units in all_maps.items()}
        followed = {layer: units.of_rows(rows[layer]) for layer, units in all_maps.items()}
        epoch_folder = folder / f"epoch_{epoch:04}"
        epoch_folder.mkdir()
        projected = project_units_to_files(net, image_set, followed, epoch_folder)
        for layer, file in projected.items():
            tops[layer].insert(0, followed[layer].top)
            files[layer].insert(0, file)
    return {
        layer: Evolution(rows[layer], epochs, tuple(tops[layer]), tuple(files[layer]))
        for layer in layers
    }


def these_maps(map_numbers: Sequence[int]) -> Callable[[TopUnits], np.ndarray]:
    """A choice for `evolve`: the maps of these numbers, in this order."""
    return lambda units: np.array(map_numbers, int)


def draw_responding(count: int, seed: int) -> Callable[[TopUnits], np.ndarray]:
    """A choice for `evolve`: some maps at random, of those that respond to an image."""

    def pick(units: TopUnits) -> np.ndarray:
        responding = np.flatnonzero(units.top.image[:, 0] != NO_IMAGE)
        drawn = np.random.default_rng(seed).permutation(responding)[:count]
        return np.sort(drawn)

    return pick
