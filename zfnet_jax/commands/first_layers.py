"""Compare the first layers of nets: their filters, numbers and second-layer maps, as in Fig 6."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from zfnet_jax.analysis.first_layers import (
    DEAD,
    DOMINANT,
    EDGES,
    FirstLayers,
    convolutions,
    measure_first_layers,
    spectra,
)
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import open_images
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.data.source import expect_all_there
from zfnet_jax.networks.net import Net
from zfnet_jax.report import first_layers as report
from zfnet_jax.report import pictures
from zfnet_jax.training import checkpoint


def main(
    ckpt: options.Checkpoints,
    images: options.Images = (),
    count: int = 16,
    top: options.Top = 9,
    seed: int = 0,
    batch_size: options.BatchSize = 32,
    out: Annotated[Path, options.out_by_default("first_layers")] = Path("first_layers"),
) -> None:
    """Show the first two layers of one or several nets side by side, with their numbers.

    Example: zfnet-jax first-layers --ckpt runs/zfnet runs/alexnet

    Args:
      count: how many feature maps of the second layer, drawn at random among those that fire.
      seed: of that draw.
    """
    command_line.expect("ckpt", "", len(ckpt) > 0, "at least one net")
    command_line.expect("count", count, count >= 1, "1 or more")
    command_line.expect("top", top, top >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    nets = [checkpoint.load(path) for path in ckpt]
    for path, net in zip(ckpt, nets, strict=True):
        try:
            convolutions(net.architecture)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    titles = [f"{number} {net.name}" for number, net in enumerate(nets, 1)]
    with output_folder(out) as folder:
        measured = [_measure(net, images, count, top, seed, batch_size) for net in nets]
        picture = report.first_layers_picture(titles, measured)
        pictures.save(folder / "first_layers.png", picture)
        report.first_layers_plots(titles, measured, folder / "first_layers_plots.png")
        write_json(
            folder / "first_layers.json",
            {
                "images": [str(path) for path in images] or None,
                "dead": DEAD,
                "dominant": DOMINANT,
                "band_edges": EDGES,
                "runs": [
                    {"ckpt": str(path), **report.describe(net)}
                    for path, net in zip(ckpt, measured, strict=True)
                ],
            },
        )
        np.savez_compressed(folder / "first_layers.npz", **_arrays(measured))
    print(report.facts_table(titles, measured))
    print(
        f"wrote first_layers.png, first_layers_plots.png, .json and .npz to {out}: {len(nets)} nets"
    )


def _measure(
    net: Net, images: Sequence[Path], count: int, top: int, seed: int, batch_size: int
) -> FirstLayers:
    opened = open_images(net, images)
    with expect_all_there(opened.source):
        return measure_first_layers(
            net,
            opened.frames(net),
            map_count=count,
            k=min(top, len(opened.source)),
            seed=seed,
            batch_size=batch_size,
        )


def _arrays(measured: Sequence[FirstLayers]) -> dict[str, Any]:
    """What the .npz holds of each net, numbered from 1."""
    arrays: dict[str, Any] = {}
    for number, net in enumerate(measured, 1):
        arrays[f"filters_{number}"] = np.moveaxis(net.kernel, -1, 0)
        arrays[f"spectra_{number}"] = np.float32(spectra(net.kernel))
        arrays[f"projections_{number}"] = net.projections
    return arrays


run = partial(command_line.run, main)
