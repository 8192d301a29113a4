"""The pictures of an atlas: mosaics of each feature map's top-k units, and the panels of Fig 2."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet_jax.analysis.evolution import Evolution
from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.core.devices import processors
from zfnet_jax.features.top_units import TopUnits
from zfnet_jax.features.unit_records import UnitRecord, unit_records
from zfnet_jax.networks.net import Net
from zfnet_jax.report import panels, pictures
from zfnet_jax.report.atlas_contents import FeatureMap
from zfnet_jax.report.feature_panels import draw_panel


@dataclass(frozen=True, eq=False)
class MinedLayer:
    """What is known of one layer when its pictures are drawn.

    Attributes:
      name: the layer's name.
      top_units: all of its maps, with their top-k units.
      histogram: (maps, bins) int, counts of images by their maximum of each map.
      projections: of these units, (maps, k, field, field, 3) float32.
      patches: of the pictures, uint8 of the same shape.
      control: a control's projections; None without one.
      evolution: the maps at several epochs; None without snapshots.
    """

    name: str
    top_units: TopUnits
    histogram: np.ndarray
    projections: ArrayFile
    patches: ArrayFile
    control: ArrayFile | None
    evolution: Evolution | None


def draw_feature_maps(
    net: Net,
    layer: MinedLayer,
    names: Mapping[int, str],
    class_names: Sequence[str],
    folder: Path,
) -> tuple[FeatureMap, ...]:
    """Draws the mosaics of a layer's feature maps.

    Args:
      net: the net.
      layer: the layer.
      names: of the pictures, by number.
      class_names: of the pictures; empty where they have no class.
      folder: the atlas's.

    Returns:
      What the pages say of each map.
    """
    (folder / "units" / layer.name).mkdir(parents=True)
    last = net.architecture.layers[-1].name
    titles = net.class_names if layer.name == last else None
    records = unit_records(net.architecture, layer.name, layer.top_units.top, names, class_names)

    def draw(row: int) -> FeatureMap:
        number = int(layer.top_units.map_numbers[row])
        paths, scale = _draw_mosaics(layer, row, records[row], folder)
        return FeatureMap(
            layer=layer.name,
            map=number,
            title=titles[number] if titles else None,
            top=records[row],
            histogram=tuple(layer.histogram[number].tolist()),
            scale=scale,
            projections=paths.get("projections"),
            patches=paths.get("patches"),
            control=paths.get("control"),
            evolution=paths.get("evolution"),
        )

    with ThreadPoolExecutor(processors()) as threads:
        return tuple(threads.map(draw, range(len(records))))


def draw_figure(net: Net, layer: MinedLayer, folder: Path, seed: int) -> tuple[str, str]:
    """Draws a convolution's panel of Fig 2.

    Args:
      net: the net.
      layer: the convolution.
      folder: the atlas's.
      seed: of the choice of maps.

    Returns:
      The picture's path in the folder, and a caption.
    """
    number, sheet, caption = draw_panel(
        net, layer.name, layer.top_units, layer.projections, layer.patches, seed
    )
    path = f"fig2_layer{number}.png"
    pictures.save(folder / path, sheet)
    return path, caption


def _draw_mosaics(
    layer: MinedLayer, row: int, records: Sequence[UnitRecord], folder: Path
) -> tuple[dict[str, str], float]:
    """Draws one map: the pictures' paths by kind, and the magnitude of black and white."""
    k, count = layer.top_units.top.value.shape[1], len(records)
    side = math.ceil(math.sqrt(k))
    number = int(layer.top_units.map_numbers[row])
    paths: dict[str, str] = {}

    def save(kind: str, tiles: np.ndarray, columns: int) -> None:
        paths[kind] = f"units/{layer.name}/{number:03}-{kind}.webp"
        sheet = pictures.tile(tiles, columns, gap=0, fill=panels.MISSING)
        pictures.save(folder / paths[kind], sheet)

    def save_signed(kind: str, file: ArrayFile) -> float:
        tiles = file.read(row * k, count)
        scale = pictures.symmetric_scale(tiles, panels.QUANTILE)
        save(kind, pictures.signed_to_pixels(tiles, scale), side)
        return scale

    scale = 0.0
    if count:
        scale = save_signed("projections", layer.projections)
        save("patches", layer.patches.read(row * k, count), side)
        if layer.control:
            save_signed("control", layer.control)
    if layer.evolution:
        strip, filled = layer.evolution.strip(row), layer.evolution.filled[row]
        save("evolution", panels.evolution_tiles(strip, filled.tolist()), len(strip))
    return paths, scale
