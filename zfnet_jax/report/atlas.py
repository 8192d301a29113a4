"""The feature atlas: every map's strongest units as pictures, numbers and pages.

Zeiler & Fergus 2014, Fig 2, all of it: for each map of the chosen layers its strongest units over a
data set, projected, beside the patches that excite them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zfnet_jax.analysis.evolution import Evolution
from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.core.devices import processors
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.features.controls import Control
from zfnet_jax.features.mining import EDGES, NO_IMAGE, LayerStatistics
from zfnet_jax.features.top_units import (
    TopUnits,
    cut_patches_to_files,
    field_size,
    image_numbers,
    project_units_to_files,
    responding_units,
    unit_box,
)
from zfnet_jax.networks.net import Net
from zfnet_jax.report import atlas_pages as pages
from zfnet_jax.report import panels, pictures
from zfnet_jax.report.feature_panels import draw_panel
from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv, Dense, Layer, MaxPool

THUMBNAIL = 112
"""The width of a whole picture's thumbnail in pixels."""

_ENTRY = ("image", "name", "label", "row", "col", "value", "box")


@dataclass(frozen=True, eq=False)
class Subject:
    """What an atlas is of.

    Attributes:
      title: what the pages call it.
      net: the net.
      frames: the pictures that it was mined on.
      source: what they are, in words.
      tables: by layer, what mining found.
      evolution: by layer, its maps at several epochs; empty without snapshots.
      facts: what else the index says, such as ("validation top-1", "64.1 %").
      curves: a picture of the training curves, in the atlas's folder.
    """

    title: str
    net: Net
    frames: ImageSet
    source: str
    tables: Mapping[str, LayerStatistics]
    evolution: Mapping[str, Evolution]
    facts: Sequence[tuple[str, str]]
    curves: str | None


@dataclass(frozen=True, eq=False)
class _Shelf:
    """What is known of one layer when its pictures are drawn."""

    layer: str
    chosen: TopUnits
    projections: ArrayFile
    patches: ArrayFile
    control: ArrayFile | None
    evolution: Evolution | None


def write_atlas(
    subject: Subject,
    folder: Path,
    work: Path,
    *,
    control: Control | None = None,
    seed: int = 0,
    raw: bool = False,
) -> int:
    """Projects all units and writes the atlas.

    Args:
      subject: what of.
      folder: where to; it exists and is empty but for the curves.
      work: an existing folder for what is too large for memory and not part of the atlas.
      control: which control to show beside each map.
      seed: of the control, and of the maps of Fig 2.
      raw: whether the projections stay, as raw/LAYER.npy of shape (maps, k, field, field, 3).

    Returns:
      How many maps are dead.
    """
    net, frames = subject.net, subject.frames
    chosen = responding_units(net, subject.tables)
    places = [folder / "raw" if raw else work / "projections", work / "patches", work / "control"]
    for place in [*places, folder / "images"]:
        place.mkdir()
    projections = project_units_to_files(net, frames, chosen, places[0])
    thumbnail = lambda number, picture: pictures.save_small(
        folder / _thumbnail(number), picture, THUMBNAIL
    )
    patches = cut_patches_to_files(net, frames, chosen, places[1], thumbnail)
    controls = (
        project_units_to_files(net, frames, chosen, places[2], control=control, seed=seed)
        if control
        else {}
    )
    shelves = [
        _Shelf(
            layer,
            chosen[layer],
            projections[layer],
            patches[layer],
            controls.get(layer),
            subject.evolution.get(layer),
        )
        for layer in subject.tables
    ]
    # Once for all layers, since a source may have to draw a picture to name it.
    names = {int(image): frames.source[int(image)].name for image in image_numbers(chosen)}
    units = {shelf.layer: _units(subject, shelf, names, folder) for shelf in shelves}
    figures = [_figure(net, shelf, folder, seed) for shelf in shelves if _is_conv(net, shelf.layer)]
    atlas = _atlas(subject, units, figures, control)
    _write_json(subject, units, control, folder)
    pages.write_pages(atlas, folder)
    return sum(layer.dead for layer in atlas.layers)


def _units(
    subject: Subject, shelf: _Shelf, names: Mapping[int, str], folder: Path
) -> tuple[pages.Unit, ...]:
    """Draws the pictures of a layer's maps; returns what the pages say of them."""
    net, layer = subject.net, shelf.layer
    place = folder / "units" / layer
    place.mkdir(parents=True)
    entries = _entries(subject, shelf, names)
    titles = net.class_names if layer == net.architecture.layers[-1].name else None
    k = shelf.chosen.top.value.shape[1]
    side = math.ceil(math.sqrt(k))

    def draw(position: int) -> pages.Unit:
        number, top = int(shelf.chosen.map_numbers[position]), entries[position]

        def save(kind: str, tiles: np.ndarray, columns: int) -> str:
            path = f"units/{layer}/{number:03}-{kind}.webp"
            pictures.save(folder / path, pictures.tile(tiles, columns, gap=0, fill=127))
            return path

        def signed(kind: str, file: ArrayFile) -> tuple[str, float]:
            tiles = file.read(position * k, len(top))
            scale = pictures.symmetric_scale(tiles, panels.QUANTILE)
            return save(kind, pictures.signed_to_pixels(tiles, scale), side), scale

        projections = patches = control = strip = None
        scale = 0.0
        if top:
            projections, scale = signed("projections", shelf.projections)
            patches = save("patches", shelf.patches.read(position * k, len(top)), side)
            control = signed("control", shelf.control)[0] if shelf.control else None
        if shelf.evolution:
            tiles = shelf.evolution.strip(position)
            strip = save("evolution", panels.signed_tiles(tiles), len(tiles))
        return pages.Unit(
            layer=layer,
            map=number,
            title=titles[number] if titles else None,
            top=top,
            histogram=tuple(subject.tables[layer].histogram[number].tolist()),
            scale=scale,
            projections=projections,
            patches=patches,
            control=control,
            evolution=strip,
        )

    with ThreadPoolExecutor(processors()) as threads:
        return tuple(threads.map(draw, range(len(shelf.chosen.map_numbers))))


def _entries(
    subject: Subject, shelf: _Shelf, names: Mapping[int, str]
) -> list[tuple[pages.Entry, ...]]:
    """Each map's strongest images in words and numbers."""
    arch, source = subject.net.architecture, subject.frames.source
    top = shelf.chosen.top
    rows = []
    for value, image, row, col, label in zip(*top, strict=True):
        count = int((image != NO_IMAGE).sum())
        rows.append(
            tuple(
                pages.Entry(
                    image=int(image[each]),
                    name=names[int(image[each])],
                    label=source.class_names[label[each]] if source.class_names else None,
                    row=int(row[each]),
                    col=int(col[each]),
                    value=float(value[each]),
                    box=unit_box(arch, shelf.layer, int(row[each]), int(col[each])),
                    thumbnail=_thumbnail(int(image[each])),
                )
                for each in range(count)
            )
        )
    return rows


def _figure(net: Net, shelf: _Shelf, folder: Path, seed: int) -> tuple[str, str]:
    """Draws a layer's panel of Fig 2: its path and caption."""
    number, sheet, caption = draw_panel(
        net, shelf.layer, shelf.chosen, shelf.projections, shelf.patches, seed
    )
    path = f"fig2_layer{number}.png"
    pictures.save(folder / path, sheet)
    return path, caption


def _atlas(
    subject: Subject,
    units: Mapping[str, tuple[pages.Unit, ...]],
    figures: Sequence[tuple[str, str]],
    control: Control | None,
) -> pages.Atlas:
    net, arch = subject.net, subject.net.architecture
    shapes = arch.shapes(len(net.class_names))
    wanted = next(iter(subject.tables.values())).top.value.shape[1]
    epochs = next((each.epochs for each in subject.evolution.values()), ())
    return pages.Atlas(
        title=subject.title,
        layers=tuple(
            pages.Layer(
                name=layer.name,
                kind=_kind(layer),
                shape=shapes[layer.name],
                text=_text(layer, shapes[layer.name]),
                field=field_size(arch, layer.name) if arch.is_spatial(layer.name) else None,
                units=units.get(layer.name, ()),
            )
            for layer in arch
        ),
        input_size=arch.input_size,
        side=math.ceil(math.sqrt(wanted)),
        wanted=wanted,
        images=len(subject.frames),
        source=subject.source,
        facts=tuple(subject.facts),
        curves=subject.curves,
        figures=tuple(figures),
        edges=tuple(EDGES.tolist()),
        epochs=epochs,
        control=control,
    )


def _write_json(
    subject: Subject,
    units: Mapping[str, tuple[pages.Unit, ...]],
    control: Control | None,
    folder: Path,
) -> None:
    """atlas.json: all that the pages show, for programs."""
    description: dict[str, Any] = {
        "title": subject.title,
        "step": subject.net.step,
        "source": subject.source,
        "images": len(subject.frames),
        "control": control,
        "edges": EDGES.tolist(),
        "units": [
            {
                "layer": unit.layer,
                "map": unit.map,
                "title": unit.title,
                "dead": not unit.top,
                "scale": unit.scale,
                "histogram": list(unit.histogram),
                "top": [{name: getattr(entry, name) for name in _ENTRY} for entry in unit.top],
            }
            for layer in units.values()
            for unit in layer
        ],
    }
    (folder / "atlas.json").write_text(json.dumps(description) + "\n")


def _thumbnail(image: int) -> str:
    return f"images/{image:06}.webp"


def _is_conv(net: Net, layer: str) -> bool:
    return isinstance(net.architecture[layer], Conv)


def _kind(layer: Layer) -> str:
    match layer:
        case Conv():
            return "conv"
        case MaxPool():
            return "pool"
        case ContrastNorm():
            return "norm"
        case Dense():
            return "dense"


def _text(layer: Layer, shape: Sequence[int]) -> str:
    match layer:
        case Conv():
            return f"{layer.features} filters {layer.size}×{layer.size}, stride {layer.stride}"
        case MaxPool():
            return f"maxima of {layer.size}×{layer.size}, stride {layer.stride}"
        case ContrastNorm():
            return f"contrast across {layer.size} maps"
        case Dense():
            return f"{shape[-1]} units"


def mined_by_default(arch: Architecture) -> tuple[str, ...]:
    """The layers that an atlas shows unless it is told others: the convolutions and the classes."""
    return (*(each.name for each in arch if isinstance(each, Conv)), arch.layers[-1].name)
