"""Show how feature maps came about during training, as in Fig 4."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zfnet_jax.analysis.evolution import Evolution, draw_responding, evolve
from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import training_of
from zfnet_jax.core.files import output_folder, temporary_folder
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.source import Source, expect_all_there, warn_of_skipped
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.report import panels, pictures
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.zfnet.architecture import Conv


def main(
    ckpt: Path,
    layers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...")] = (),
    maps: int = 6,
    seed: int = 0,
    batch_size: int = 32,
    out: Path | None = None,
) -> None:
    """Project each map's strongest unit over the training set at several epochs.

    Example: zfnet-jax evolution --ckpt runs/shapes

    Args:
      ckpt: a run's folder, with the snapshots that training keeps.
      layers: which layers; by default all convolutions.
      maps: how many of each, drawn at random among those that are alive in the end.
      seed: of that draw.
      batch_size: images at a time.
      out: the folder to write to; by default evolution in the run's folder.
    """
    command_line.expect("maps", maps, maps >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    snapshots = run_folder.snapshots(ckpt)
    if not snapshots:
        raise ValueError(
            f"{ckpt / run_folder.SNAPSHOTS}: expected the snapshots of a run's epochs, there are "
            "none; training keeps those of --train.snapshot-epochs"
        )
    net = checkpoint.load(snapshots[max(snapshots)])
    arch = net.architecture
    layers = layers or tuple(each.name for each in arch if isinstance(each, Conv))
    for layer in layers:
        arch.index(layer)
    config = training_of(net)
    splits = open_splits(config.data, config.seed)
    warn_of_skipped(splits.skipped)
    frames = ImageSet.of(splits.train, net.preprocessing.frame, config.data.cache_gib)
    out = out or ckpt / "evolution"
    with (
        expect_all_there(splits.train),
        output_folder(out) as folder,
        temporary_folder() as work,
    ):
        pick = draw_responding(maps, seed)
        evolved = evolve(snapshots, frames, layers, work, pick, batch_size=batch_size)
        strips = {layer: _strips(each) for layer, each in evolved.items()}
        pictures.save(folder / "evolution.png", panels.evolution_picture(strips, list(snapshots)))
        description = {
            "ckpt": str(ckpt),
            "source": config.data.source,
            "epochs": list(snapshots),
            "scale": "patch",
            "maps": [
                row
                for layer, each in evolved.items()
                for row in _describe(layer, each, splits.train)
            ],
        }
        (folder / "evolution.json").write_text(json.dumps(description, indent=1) + "\n")
        arrays: dict[str, Any] = dict(strips)
        np.savez_compressed(folder / "evolution.npz", **arrays)
    counts = ", ".join(f"{len(each.map_numbers)} of {layer}" for layer, each in evolved.items())
    print(f"wrote evolution.png, .json and .npz to {out}: {counts}; {len(snapshots)} epochs")


def _strips(evolution: Evolution) -> np.ndarray:
    """(M, E, field, field, 3) float32."""
    return np.stack([evolution.strip(place) for place in range(len(evolution.map_numbers))])


def _describe(layer: str, evolution: Evolution, source: Source) -> list[dict[str, Any]]:
    """A layer's maps as JSON data; the strongest unit is None where nothing responds."""
    return [
        {
            "layer": layer,
            "map": int(number),
            "strongest": [
                {
                    "image": int(top.image[place, 0]),
                    "name": source[int(top.image[place, 0])].name,
                    "row": int(top.row[place, 0]),
                    "col": int(top.col[place, 0]),
                    "value": float(top.value[place, 0]),
                }
                if top.image[place, 0] != NO_IMAGE
                else None
                for top in evolution.tops
            ],
        }
        for place, number in enumerate(evolution.map_numbers)
    ]


run = partial(command_line.run, main)
