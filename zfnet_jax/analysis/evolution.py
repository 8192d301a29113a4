"""How feature maps came about: the strongest unit of each at several epochs of training.

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
from zfnet_jax.features.mining import NO_IMAGE, Top
from zfnet_jax.features.top_units import (
    TopUnits,
    mine_image_set,
    project_units_to_files,
    responding_units,
)
from zfnet_jax.training import checkpoint


@dataclass(frozen=True, eq=False)
class Evolution:
    """Some maps of a layer at several epochs.

    Attributes:
      map_numbers: (M,) int.
      epochs: E of them, ascending.
      tops: for each epoch the strongest image, arrays of shape (M, 1).
      projections: for each epoch (M, 1, field, field, 3) float32, in network space.
    """

    map_numbers: np.ndarray
    epochs: tuple[int, ...]
    tops: tuple[Top, ...]
    projections: tuple[ArrayFile, ...]

    def strip(self, place: int) -> np.ndarray:
        """One map's projections, (E, field, field, 3) float32."""
        return np.stack([file.read(place, 1)[0] for file in self.projections])


def evolve(
    snapshots: Mapping[int, Path],
    frames: ImageSet,
    layers: Sequence[str],
    folder: Path,
    pick: Callable[[TopUnits], np.ndarray] = lambda chosen: np.arange(len(chosen.map_numbers)),
    *,
    batch_size: int = 32,
) -> dict[str, Evolution]:
    """Mines the training set with each snapshot of a run and projects the strongest units.

    Args:
      snapshots: by epoch, a net of the run.
      frames: the training pictures.
      layers: the layers' names.
      folder: where the projections go.
      pick: which rows of the maps of the last epoch to follow, as numbers; all by default.
      batch_size: images a step.

    Returns:
      By layer, the evolution of its maps.
    """
    epochs = tuple(sorted(snapshots))
    tops: dict[str, list[Top]] = {layer: [] for layer in layers}
    files: dict[str, list[ArrayFile]] = {layer: [] for layer in layers}
    maps: dict[str, np.ndarray] = {}
    for epoch in reversed(epochs):  # the last first, since what lives in the end is followed
        net = checkpoint.load(snapshots[epoch])
        tables = mine_image_set(net, frames, layers, 1, batch_size=batch_size)
        chosen = responding_units(net, tables)
        if not maps:
            maps = {layer: pick(each) for layer, each in chosen.items()}
        chosen = {
            layer: TopUnits(maps[layer], Top(*(column[maps[layer]] for column in each.top)))
            for layer, each in chosen.items()
        }
        place = folder / f"epoch_{epoch:04}"
        place.mkdir()
        for layer, file in project_units_to_files(net, frames, chosen, place).items():
            tops[layer].insert(0, chosen[layer].top)
            files[layer].insert(0, file)
    return {
        layer: Evolution(maps[layer], epochs, tuple(tops[layer]), tuple(files[layer]))
        for layer in layers
    }


def draw_alive(count: int, seed: int) -> Callable[[TopUnits], np.ndarray]:
    """A choice for `evolve`: some maps at random, of those that respond to something."""

    def pick(chosen: TopUnits) -> np.ndarray:
        alive = np.flatnonzero(chosen.top.image[:, 0] != NO_IMAGE)
        drawn = np.random.default_rng(seed).permutation(alive)[:count]
        return np.sort(drawn)

    return pick
