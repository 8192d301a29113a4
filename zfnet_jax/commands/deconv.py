"""Show what a layer's feature maps respond to: projections beside image patches, as in Fig 2."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import open_images
from zfnet_jax.core.files import output_folder
from zfnet_jax.data.source import Source
from zfnet_jax.features.feature_maps import Panel, make_panel
from zfnet_jax.report import panels, pictures
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import Conv
from zfnet_jax.zfnet.ops import Overlap


def main(
    ckpt: Path,
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    layer: str = "conv5",
    top: int = 9,
    maps: int = 12,
    only: Annotated[tuple[int, ...], tyro.conf.arg(metavar="MAP ...")] = (),
    scale: panels.Scale = "map",
    unpool: Overlap = "add",
    rectify: deconvnet.Rectify = "signal",
    norm: deconvnet.Norm = "skip",
    out: Path | None = None,
) -> None:
    """Project the strongest units of a layer's feature maps down to pixels.

    Example: zfnet-jax deconv --ckpt runs/shapes --layer conv4

    Args:
      ckpt: a run, a step of one, or a .safetensors file.
      images: pictures to look at; none looks at the net's own validation set.
      layer: conv1..conv5, pool1, pool2, pool5, norm1, norm2, fc6, fc7 or fc8.
      top: images for each map, the strongest first.
      maps: how many maps, the strongest first.
      only: these maps instead, by their numbers.
      scale: what is black and white: one magnitude for all, for each map, or for each patch.
      unpool: where two pooling windows chose one pixel; the paper is silent, add is exact.
      rectify: signal is the paper's, mask the gradient's, both guided backpropagation's.
      norm: skip is the paper's.
      out: the folder to write to; by default deconv in the run's folder.
    """
    net = checkpoint.load(ckpt)
    arch = net.architecture
    arch.index(layer)
    command_line.expect("top", top, top >= 1, "1 or more")
    command_line.expect("maps", maps, maps >= 1, "1 or more")
    opened = open_images(net, images)
    source = opened.source
    panel = make_panel(
        net,
        opened.frames(net),
        layer,
        top=min(top, len(source)),
        map_count=maps,
        map_numbers=only,
        options=deconvnet.Options(unpool, rectify, norm),
    )
    shown = panels.scales(panel.projections, scale)
    names = net.class_names if layer == arch.layers[-1].name else ()
    description = {
        "ckpt": str(ckpt),
        "step": net.step,
        "layer": layer,
        "images": [str(path) for path in images] or opened.origin,
        "skipped": [skip._asdict() for skip in opened.skipped],
        "unpool": unpool,
        "rectify": rectify,
        "norm": norm,
        "scale": scale,
        "dead": panel.dead.tolist(),
        "maps": [
            _describe(panel, each, shown[each], source) for each in range(len(panel.map_numbers))
        ],
    }
    out = out or run_folder.output_of(ckpt, "deconv")
    first = next(each.name for each in arch if isinstance(each, Conv))
    with output_folder(out) as folder:
        captions = [_caption(panel, each, names) for each in range(len(panel.map_numbers))]
        sheet = panels.panel_picture(panel.projections, panel.patches, shown, captions)
        pictures.save(folder / f"{layer}.png", sheet)
        filters = pictures.filter_sheet(net.rgb_kernel(first))
        pictures.save(folder / "filters.png", filters)
        (folder / f"{layer}.json").write_text(json.dumps(description, indent=1) + "\n")
        np.savez_compressed(
            folder / f"{layer}.npz",
            projections=panel.projections,
            maps=panel.map_numbers,
            boxes=panel.boxes,
            scales=shown,
            **panel.top._asdict(),
        )
    print(
        f"wrote {layer}.png, .json and .npz and filters.png to {out}: {len(panel.map_numbers)} of "
        f"{len(panel.largest_activation)} maps, {len(panel.dead)} dead"
    )


def _describe(panel: Panel, each: int, shown: np.ndarray, source: Source) -> dict[str, Any]:
    """One map as JSON data: its strongest units, an empty list where the map is dead."""
    top = panel.top
    columns = zip(
        *(column[each] for column in (top.value, top.image, top.row, top.col, panel.boxes)),
        shown,
        strict=True,
    )
    units = []
    for value, image, row, col, box, magnitude in columns:
        if np.isfinite(value):
            example = source[int(image)]
            units.append(
                {
                    "image": int(image),
                    "name": example.name,
                    "label": source.class_names[example.label] if source.class_names else None,
                    "row": int(row),
                    "col": int(col),
                    "value": float(value),
                    "box": box.tolist(),
                    "scale": float(magnitude),
                }
            )
    return {"map": int(panel.map_numbers[each]), "dead": not units, "top": units}


def _caption(panel: Panel, each: int, class_names: Sequence[str]) -> str:
    number, value = int(panel.map_numbers[each]), panel.top.value[each, 0]
    title = class_names[number] if class_names else f"{panel.layer} map {number}"
    return f"{title}   {value:.3g}" if np.isfinite(value) else f"{title}   dead: nothing excites it"


run = partial(command_line.run, main)
