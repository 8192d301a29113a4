"""The feature atlas as pages: a folder that opens from a file manager, without server or network.

An index with the architecture as a strip of layers, a page per layer with all of its maps, and a
page per unit. The pages are made from data alone; whoever calls has put the pictures in the folder.
"""

import functools
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from zfnet_jax.features.controls import Control
from zfnet_jax.report import atlas_views as views
from zfnet_jax.report.templating import environment

CONTROLS: dict[Control, str] = {
    "random-weights": "The same places in the same pictures, through a net whose weights are "
    "random: what looks alike was not learned.",
    "shuffled-switches": "The same activation, sent down with its switches shuffled: what is lost "
    "came from where the picture's maxima lay, what stays comes from the weights.",
    "wrong-unit": "Another map, sent down from the same place through the same switches: what "
    "looks alike belongs to the picture, not to this map.",
}
"""What each control shows, in one sentence."""

_SAMPLES = 3  # mosaics under a layer of the index


@dataclass(frozen=True)
class Entry:
    """One of a map's strongest images.

    Attributes:
      image: its number in the data set.
      name: its file.
      label: its class, where it has one.
      row: where in the map the activation was.
      col: where in the map the activation was.
      value: the activation.
      box: top, left, height and width of the patch in network input pixels; may reach outside.
      thumbnail: the whole picture's thumbnail, as the network sees it; relative to the folder.
    """

    image: int
    name: str
    label: str | None
    row: int
    col: int
    value: float
    box: tuple[int, int, int, int]
    thumbnail: str


@dataclass(frozen=True)
class Unit:
    """One feature map. Pictures are paths relative to the atlas's folder.

    A mosaic has square tiles in the order of `top`, `Atlas.side` in a row, without gaps: the pages
    draw the lines, and cut away what the last row lacks.

    Attributes:
      layer: the layer's name.
      map: the number of the map.
      title: the class, for a map of the last layer.
      top: the strongest images, strongest first; empty for a dead map.
      histogram: counts of images by their maximum of this map, one more than `Atlas.edges`.
      scale: the magnitude shown as black or white.
      projections: a mosaic.
      patches: a mosaic of the picture patches.
      control: a mosaic of the control's projections.
      evolution: a strip of square tiles, one for each of `Atlas.epochs`, left to right.
    """

    layer: str
    map: int
    title: str | None
    top: tuple[Entry, ...]
    histogram: tuple[int, ...]
    scale: float
    projections: str | None
    patches: str | None
    control: str | None
    evolution: str | None

    @property
    def page(self) -> str:
        """Where its page lies in the folder."""
        return f"units/{self.layer}/{self.map:03d}.html"

    @property
    def labels(self) -> list[tuple[str, int]]:
        """The classes of its strongest images, most frequent first."""
        return Counter(entry.label for entry in self.top if entry.label is not None).most_common()


@dataclass(frozen=True)
class Layer:
    """A layer of the net.

    Attributes:
      name: also the name of a folder.
      kind: "conv", "pool", "norm" or "dense".
      shape: of its output, (rows, cols, maps) or (features,).
      text: such as "96 filters 7x7, stride 2".
      field: the receptive field in pixels; None where it is the whole picture.
      units: empty where the layer was not mined.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    text: str
    field: int | None
    units: tuple[Unit, ...]

    @property
    def page(self) -> str:
        """Where its page lies in the folder."""
        return f"layers/{self.name}.html"

    @property
    def dead(self) -> int:
        """How many of its maps nothing excites."""
        return sum(not unit.top for unit in self.units)

    @property
    def samples(self) -> list[Unit]:
        """A few of its maps that live, evenly spaced."""
        alive = [unit for unit in self.units if unit.top]
        count = min(_SAMPLES, len(alive))
        return [alive[(2 * each + 1) * len(alive) // (2 * count)] for each in range(count)]


@dataclass(frozen=True)
class Atlas:
    """All that the pages show.

    Attributes:
      title: the run's name.
      layers: all layers of the net in order, the input excluded.
      input_size: of the network, in pixels.
      side: tiles in a row of a mosaic.
      wanted: the k that was asked for; the pages say where there are fewer.
      images: how many pictures were mined.
      source: what of.
      facts: such as ("validation top-1", "64.1 %").
      curves: a picture of the training curves.
      figures: (path, caption).
      edges: of the histograms: bin 0 is up to edges[0], bin i is (edges[i-1], edges[i]], the last
        is open; edges[0] is 0.
      epochs: of the columns of the evolution strips.
      control: what the control's projections are.
    """

    title: str
    layers: tuple[Layer, ...]
    input_size: int
    side: int
    wanted: int
    images: int
    source: str
    facts: tuple[tuple[str, str], ...]
    curves: str | None
    figures: tuple[tuple[str, str], ...]
    edges: tuple[float, ...]
    epochs: tuple[int, ...]
    control: Control | None


def write_pages(atlas: Atlas, folder: Path) -> None:
    """Writes index.html, layers/NAME.html, units/NAME/012.html and what they need.

    Args:
      atlas: what to show.
      folder: the atlas's folder, which already holds the pictures.
    """
    for name in ("style.css", "atlas.js"):
        source = resources.files("zfnet_jax.report") / "templates" / name
        with resources.as_file(source) as file:
            shutil.copyfile(file, folder / name)
    data = json.dumps(search_data(atlas), separators=(",", ":"))  # ASCII, whatever the names
    (folder / "search.js").write_text(f"window.atlasSearch={data}\n")
    env = _environment(atlas, folder)

    def write(page: str, template: str, **context: Any) -> None:
        text = env.get_template(template).render(
            atlas=atlas, root="../" * page.count("/"), **context
        )
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file's name may hold bytes that are no text.
        path.write_text(text, encoding="utf-8", errors="replace")

    write("index.html", "index.html")
    mined = [layer for layer in atlas.layers if layer.units]
    for before, layer, after in zip([None, *mined], mined, [*mined[1:], None], strict=False):
        write(layer.page, "layer.html", layer=layer, mined=mined, before=before, after=after)
    units = [unit for layer in mined for unit in layer.units]
    layers = [layer for layer in mined for _ in layer.units]
    neighbours = zip(layers, [None, *units], units, [*units[1:], None], strict=False)
    for layer, before, unit, after in neighbours:
        drawing = views.histogram(unit.histogram, atlas.edges)
        write(
            unit.page,
            "unit.html",
            layer=layer,
            unit=unit,
            before=before,
            after=after,
            histogram=drawing,
        )


def search_data(atlas: Atlas) -> dict[str, list[Any]]:
    """What the search box reads, as JSON: lists alone, since a class may be called __proto__.

    Returns:
      labels: the classes. layers: [name, page, maps] of those that were mined. units: [layer, map,
      title, page, mosaic, images, [label, count, ...]] with places in the other two lists; paths
      are URLs.
    """
    labels: dict[str, int] = {}
    layers = [layer for layer in atlas.layers if layer.units]
    units = []
    for place, layer in enumerate(layers):
        for unit in layer.units:
            counts = [
                number
                for label, count in unit.labels
                for number in (labels.setdefault(label, len(labels)), count)
            ]
            mosaic = unit.projections and views.url(unit.projections)
            page = views.url(unit.page)
            units.append([place, unit.map, unit.title, page, mosaic, len(unit.top), counts])
    return {
        "labels": list(labels),
        "layers": [[layer.name, views.url(layer.page), len(layer.units)] for layer in layers],
        "units": units,
    }


def _environment(atlas: Atlas, folder: Path) -> jinja2.Environment:
    @functools.cache
    def size(path: str) -> tuple[int, int]:
        with Image.open(folder / path) as picture:
            return picture.size

    def mosaic_style(path: str, count: int) -> str:
        return views.mosaic_style(size(path), atlas.side, count)

    env = environment()
    env.filters |= {"url": views.url, "significant": views.significant}
    env.globals |= {
        "size": size,
        "mosaic_style": mosaic_style,
        "views": views,
        "controls": CONTROLS,
    }
    return env
