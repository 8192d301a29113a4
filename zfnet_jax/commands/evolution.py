"""Show how feature maps came about during training, as in Fig 4."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zfnet_jax.analysis.evolution import Evolution, draw_responding, evolve, these_maps
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import training_of
from zfnet_jax.core.files import output_folder, temporary_folder, write_json
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.source import Source, expect_all_there, warn_of_skipped
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features.unit_records import image_names, unit_records
from zfnet_jax.networks.net import Net
from zfnet_jax.report import panels, pictures
from zfnet_jax.training import checkpoint, run_folder


def main(
    ckpt: Annotated[
        Path, tyro.conf.arg(metavar="RUN", help="a run's folder, with the snapshots it keeps.")
    ],
    layers: options.Layers = (),
    maps: options.Maps = (),
    count: int = 6,
    seed: int = 0,
    batch_size: options.BatchSize = 32,
    out: options.Out = None,
) -> None:
    """Project each feature map's strongest unit over the training set at several epochs.

    Example: zfnet-jax evolution --ckpt runs/shapes

    Without --layers all convolutions are shown. With --maps each of the layers must have these.

    Args:
      count: how many feature maps of each layer, drawn at random among those that some picture
        excites in the end; without effect where --maps names them.
      seed: of that draw.
    """
    command_line.expect("count", count, count >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    snapshots = run_folder.snapshots(ckpt)
    if not snapshots:
        raise ValueError(
            f"{ckpt / run_folder.SNAPSHOTS}: expected the snapshots of a run's epochs, there are "
            "none; training keeps those of --train.snapshot-epochs"
        )
    net = checkpoint.load(snapshots[max(snapshots)])
    layers = layers or tuple(layer.name for layer in net.architecture.convolutions)
    widths = net.architecture.shapes(len(net.class_names))
    for layer in layers:
        net.architecture.index(layer)
        for number in maps:
            width = widths[layer][-1]
            form = f"0..{width - 1}, {layer} has {width} maps"
            command_line.expect("maps", number, 0 <= number < width, form)
    config = training_of(net)
    splits = open_splits(config.data, config.seed)
    warn_of_skipped(splits.skipped)
    image_set = ImageSet.of(splits.train, net.preprocessing.frame, config.data.cache_gib)
    pick = these_maps(maps) if maps else draw_responding(count, seed)
    out = out or ckpt / "evolution"
    with (
        expect_all_there(splits.train),
        output_folder(out) as folder,
        temporary_folder() as work,
    ):
        evolved = evolve(snapshots, image_set, layers, work, pick, batch_size=batch_size)
        drawn = {layer: one for layer, one in evolved.items() if len(one.map_numbers)}
        if not drawn:
            raise ValueError(f"{', '.join(layers)}: expected a map that some picture excites")
        strips = {layer: evolution.strips() for layer, evolution in drawn.items()}
        filled = {layer: evolution.filled for layer, evolution in drawn.items()}
        picture = panels.evolution_picture(strips, filled, list(snapshots))
        pictures.save(folder / "evolution.png", picture)
        write_json(
            folder / "evolution.json",
            {
                "ckpt": str(ckpt),
                "source": config.data.source,
                "epochs": list(snapshots),
                "scale": "patch",
                "maps": [
                    described
                    for layer, evolution in evolved.items()
                    for described in _describe(net, layer, evolution, splits.train)
                ],
            },
        )
        arrays: dict[str, Any] = dict(strips)
        np.savez_compressed(folder / "evolution.npz", **arrays)
    counts = ", ".join(f"{len(each.map_numbers)} of {layer}" for layer, each in evolved.items())
    print(f"wrote evolution.png, .json and .npz to {out}: {counts}; {len(snapshots)} epochs")


def _describe(net: Net, layer: str, evolution: Evolution, source: Source) -> list[dict[str, Any]]:
    """A layer's maps as JSON data; at an epoch without a unit the strongest is None."""
    images = np.concatenate([top.image.ravel() for top in evolution.tops])
    names = image_names(source, images)
    by_epoch = [
        unit_records(net.architecture, layer, top, names, source.class_names)
        for top in evolution.tops
    ]
    return [
        {
            "layer": layer,
            "map": int(number),
            "strongest": [units[0]._asdict() if units else None for units in of_map],
        }
        for number, of_map in zip(evolution.map_numbers, zip(*by_epoch, strict=True), strict=True)
    ]


run = partial(command_line.run, main)
