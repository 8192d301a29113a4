"""Compare the first layers of nets: their filters, numbers and second-layer maps, as in Fig 6."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zfnet_jax.analysis.first_layers import (
    DEAD,
    DOMINANT,
    EDGES,
    FirstLayers,
    convolutions,
    measure_first_layers,
    spectra,
)
from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import open_images
from zfnet_jax.core.files import output_folder
from zfnet_jax.data.source import expect_all_there
from zfnet_jax.networks.net import Net
from zfnet_jax.report import first_layers, pictures
from zfnet_jax.training import checkpoint


def main(
    ckpt: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]")],
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    seed: int = 0,
    batch_size: int = 32,
    out: Path = Path("first_layers"),
) -> None:
    """Show the first two layers of one or several nets side by side, with their numbers.

    Example: zfnet-jax first-layers --ckpt runs/zfnet runs/alexnet

    Args:
      ckpt: runs, steps of runs, or .safetensors files; they may be of different classes.
      images: pictures to look at; none looks at each net's own validation set.
      seed: of the second layer's maps, drawn among those that fire.
      batch_size: images at a time.
      out: the folder to write to.
    """
    command_line.expect("ckpt", "", len(ckpt) > 0, "at least one net")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    nets = [checkpoint.load(path) for path in ckpt]
    for path, net in zip(ckpt, nets, strict=True):
        try:
            convolutions(net.architecture)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    titles = [f"{number} {net.name}" for number, net in enumerate(nets, 1)]
    with output_folder(out) as folder:
        found = [_look(net, images, seed, batch_size) for net in nets]
        pictures.save(folder / "first_layers.png", first_layers.selection_picture(titles, found))
        first_layers.selection_plots(titles, found, folder / "first_layers_plots.png")
        description = {
            "images": [str(path) for path in images] or None,
            "dead": DEAD,
            "dominant": DOMINANT,
            "band_edges": EDGES,
            "runs": [
                {"ckpt": str(path), **first_layers.describe(each)}
                for path, each in zip(ckpt, found, strict=True)
            ],
        }
        (folder / "first_layers.json").write_text(json.dumps(description, indent=1) + "\n")
        arrays: dict[str, Any] = {}
        for number, each in enumerate(found, 1):
            arrays[f"filters_{number}"] = np.moveaxis(each.kernel, -1, 0)
            arrays[f"spectra_{number}"] = np.float32(spectra(each.kernel))
            arrays[f"projections_{number}"] = each.projections
        np.savez_compressed(folder / "first_layers.npz", **arrays)
    print(first_layers.table(titles, found))
    print(
        f"wrote first_layers.png, first_layers_plots.png, .json and .npz to {out}: {len(nets)} nets"
    )


def _look(net: Net, images: Sequence[Path], seed: int, batch_size: int) -> FirstLayers:
    opened = open_images(net, images)
    with expect_all_there(opened.source):
        return measure_first_layers(net, opened.frames(net), seed=seed, batch_size=batch_size)


run = partial(command_line.run, main)
