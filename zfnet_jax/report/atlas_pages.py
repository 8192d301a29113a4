"""The feature atlas as pages: a folder that opens from a file manager, without server or network.

An index with the architecture as a strip of layers, a page per layer with all of its maps, and a
page per feature map. The pages are made from data alone; the caller has put the pictures in the
folder.
"""

import functools
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from zfnet_jax.features.controls import Control
from zfnet_jax.report import formats
from zfnet_jax.report.atlas_contents import Atlas, thumbnail_path
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

    write("index.html", "atlas_index.html")
    mined = [layer for layer in atlas.layers if layer.maps]
    for before, layer, after in zip([None, *mined], mined, [*mined[1:], None], strict=False):
        write(layer.page, "layer.html", layer=layer, mined=mined, before=before, after=after)
    maps = [feature_map for layer in mined for feature_map in layer.maps]
    layers = [layer for layer in mined for _ in layer.maps]
    neighbours = zip(layers, [None, *maps], maps, [*maps[1:], None], strict=False)
    for layer, before, feature_map, after in neighbours:
        write(
            feature_map.page,
            "feature_map.html",
            layer=layer,
            feature_map=feature_map,
            before=before,
            after=after,
            histogram=formats.histogram(feature_map.histogram, atlas.edges),
        )


def search_data(atlas: Atlas) -> dict[str, list[Any]]:
    """What the search box reads, as JSON: lists alone, since a class may be called __proto__.

    Returns:
      labels: the classes. layers: [name, page, maps] of those that were mined. units: [layer, map,
      title, page, mosaic, images, [label, count, ...]] with places in the other two lists; paths
      are URLs.
    """
    labels: dict[str, int] = {}
    layers = [layer for layer in atlas.layers if layer.maps]
    units = []
    for place, layer in enumerate(layers):
        for feature_map in layer.maps:
            counts = [
                number
                for label, count in feature_map.labels
                for number in (labels.setdefault(label, len(labels)), count)
            ]
            mosaic = feature_map.projections and formats.url(feature_map.projections)
            page, images = formats.url(feature_map.page), len(feature_map.top)
            units.append([place, feature_map.map, feature_map.title, page, mosaic, images, counts])
    return {
        "labels": list(labels),
        "layers": [[layer.name, formats.url(layer.page), len(layer.maps)] for layer in layers],
        "units": units,
    }


def _environment(atlas: Atlas, folder: Path) -> jinja2.Environment:
    @functools.cache
    def size(path: str) -> tuple[int, int]:
        with Image.open(folder / path) as picture:
            return picture.size

    def tiles_there(path: str, count: int) -> str:
        return formats.tiles_there(size(path), atlas.side, count)

    env = environment()
    env.filters |= {
        "url": formats.url,
        "significant": formats.significant,
        "thumbnail": thumbnail_path,
    }
    env.globals |= {
        "size": size,
        "tiles_there": tiles_there,
        "formats": formats,
        "controls": CONTROLS,
    }
    return env
