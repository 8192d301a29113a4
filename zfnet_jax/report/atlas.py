"""The feature atlas: every map's top-k units as pictures, numbers and pages.

Zeiler & Fergus 2014, Fig 2, all of it: for each map of the chosen layers its strongest units over a
data set, projected, beside the patches that excite them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zfnet_jax.analysis.evolution import Evolution
from zfnet_jax.core.files import write_json
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.features.controls import Control
from zfnet_jax.features.mining import EDGES, LayerStatistics
from zfnet_jax.features.top_units import field_size, image_numbers, responding_units
from zfnet_jax.features.unit_pixels import cut_patches_to_files, project_units_to_files
from zfnet_jax.features.unit_records import image_names
from zfnet_jax.networks.net import Net
from zfnet_jax.report import pictures
from zfnet_jax.report.atlas_contents import Atlas, FeatureMap, Layer, thumbnail_path
from zfnet_jax.report.atlas_pages import write_pages
from zfnet_jax.report.atlas_pictures import MinedLayer, draw_feature_maps, draw_figure
from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv, Dense, MaxPool

THUMBNAIL = 112
"""The width of a whole picture's thumbnail in pixels."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What an atlas is of.

    Attributes:
      title: what the pages call it.
      net: the net.
      images: the pictures that it was mined on.
      source: what they are, in words.
      wanted: the k that was asked for, of which there may be fewer.
      statistics: by layer, what mining found.
      evolution: by layer, its maps at several epochs; empty without snapshots.
      facts: what else the index says, such as ("validation top-1", "64.1 %").
      curves: a picture of the training curves, in the atlas's folder.
    """

    title: str
    net: Net
    images: ImageSet
    source: str
    wanted: int
    statistics: Mapping[str, LayerStatistics]
    evolution: Mapping[str, Evolution]
    facts: Sequence[tuple[str, str]]
    curves: str | None


def default_layers(arch: Architecture) -> tuple[str, ...]:
    """The layers that an atlas shows by default: the convolutions and the classes."""
    return (*(layer.name for layer in arch.convolutions), arch.layers[-1].name)


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
    net, source = subject.net, subject.images.source
    layers = _mined_layers(subject, folder, work, control, seed, raw)
    # Once for all layers, since a source may have to draw a picture to name it.
    names = image_names(source, image_numbers({layer.name: layer.top_units for layer in layers}))
    maps = {
        layer.name: draw_feature_maps(net, layer, names, source.class_names, folder)
        for layer in layers
    }
    spatial = [layer for layer in layers if isinstance(net.architecture[layer.name], Conv)]
    figures = [draw_figure(net, layer, folder, seed) for layer in spatial]
    atlas = _contents(subject, maps, figures, control)
    _write_json(subject, maps, control, folder)
    write_pages(atlas, folder)
    return sum(layer.dead for layer in atlas.layers)


def _mined_layers(
    subject: Subject, folder: Path, work: Path, control: Control | None, seed: int, raw: bool
) -> list[MinedLayer]:
    """Projects the top-k units and cuts out their patches, and all whole pictures' thumbnails."""
    net, images = subject.net, subject.images
    top_units = responding_units(net, subject.statistics)
    places = [folder / "raw" if raw else work / "projections", work / "patches", work / "control"]
    for place in [*places, folder / "images"]:
        place.mkdir()
    projections = project_units_to_files(net, images, top_units, places[0])
    save_thumbnail = lambda number, picture: pictures.save_small(
        folder / thumbnail_path(number), picture, THUMBNAIL
    )
    patches = cut_patches_to_files(net, images, top_units, places[1], save_thumbnail)
    controls = (
        project_units_to_files(net, images, top_units, places[2], control=control, seed=seed)
        if control
        else {}
    )
    return [
        MinedLayer(
            name,
            top_units[name],
            of_layer.histogram,
            projections[name],
            patches[name],
            controls.get(name),
            subject.evolution.get(name),
        )
        for name, of_layer in subject.statistics.items()
    ]


def _contents(
    subject: Subject,
    maps: Mapping[str, tuple[FeatureMap, ...]],
    figures: Sequence[tuple[str, str]],
    control: Control | None,
) -> Atlas:
    net, arch = subject.net, subject.net.architecture
    shapes = arch.shapes(len(net.class_names))
    k = next(iter(subject.statistics.values())).top.value.shape[1]
    side = math.ceil(math.sqrt(k))
    return Atlas(
        title=subject.title,
        layers=tuple(
            Layer(
                name=layer.name,
                kind=_kind(layer),
                shape=shapes[layer.name],
                text=_text(layer, shapes[layer.name]),
                field=field_size(arch, layer.name) if arch.is_spatial(layer.name) else None,
                maps=maps.get(layer.name, ()),
            )
            for layer in arch
        ),
        input_size=arch.input_size,
        side=side,
        rows=math.ceil(k / side),
        wanted=subject.wanted,
        images=len(subject.images),
        source=subject.source,
        facts=tuple(subject.facts),
        curves=subject.curves,
        figures=tuple(figures),
        edges=tuple(EDGES.tolist()),
        epochs=next((evolution.epochs for evolution in subject.evolution.values()), ()),
        control=control,
    )


def _write_json(
    subject: Subject,
    maps: Mapping[str, tuple[FeatureMap, ...]],
    control: Control | None,
    folder: Path,
) -> None:
    """atlas.json: all that the pages show, for programs."""
    described = [
        {
            "layer": feature_map.layer,
            "map": feature_map.map,
            "title": feature_map.title,
            "dead": not feature_map.top,
            "scale": feature_map.scale,
            "histogram": list(feature_map.histogram),
            "top": [unit._asdict() for unit in feature_map.top],
        }
        for of_layer in maps.values()
        for feature_map in of_layer
    ]
    contents = {
        "title": subject.title,
        "step": subject.net.step,
        "source": subject.source,
        "images": len(subject.images),
        "control": control,
        "edges": EDGES.tolist(),
        "units": described,
    }
    write_json(folder / "atlas.json", contents, indent=None)


def _kind(layer: architecture.Layer) -> str:
    match layer:
        case Conv():
            return "conv"
        case MaxPool():
            return "pool"
        case ContrastNorm():
            return "norm"
        case Dense():
            return "dense"


def _text(layer: architecture.Layer, shape: Sequence[int]) -> str:
    match layer:
        case Conv():
            return f"{layer.features} filters {layer.size}×{layer.size}, stride {layer.stride}"
        case MaxPool():
            return f"maxima of {layer.size}×{layer.size}, stride {layer.stride}"
        case ContrastNorm():
            return f"contrast across {layer.size} maps"
        case Dense():
            return f"{shape[-1]} units"
