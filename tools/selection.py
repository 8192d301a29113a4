"""Compare the first layers of nets: their filters, numbers and second-layer maps, as in Fig 6."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zfnet_jax import checkpoint, cli
from zfnet_jax.analysis.selection import (
    DEAD,
    DOMINANT,
    EDGES,
    Selection,
    convolutions,
    look,
    spectra,
)
from zfnet_jax.data import open_seen
from zfnet_jax.data.pipeline import Frames
from zfnet_jax.data.source import expect_all_there, warn_of_skipped
from zfnet_jax.files import output_folder
from zfnet_jax.net import Net
from zfnet_jax.report import pictures, selection


def main(
    ckpt: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]")],
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    seed: int = 0,
    batch_size: int = 32,
    out: Path = Path("selection"),
) -> None:
    """Show the first two layers of one or several nets side by side, with their numbers.

    Example: python tools/selection.py --ckpt runs/zfnet runs/alexnet

    Args:
      ckpt: runs, steps of runs, or .safetensors files; they may be of different classes.
      images: pictures to look at; none looks at each net's own validation set.
      seed: of the second layer's maps, drawn among those that fire.
      batch_size: images at a time.
      out: the folder to write to.
    """
    cli.expect("ckpt", "", len(ckpt) > 0, "at least one net")
    cli.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    nets = [checkpoint.load(path) for path in ckpt]
    for path, net in zip(ckpt, nets, strict=True):
        try:
            convolutions(net.architecture)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    titles = [f"{number} {net.config.name}" for number, net in enumerate(nets, 1)]
    with output_folder(out) as folder:
        found = [_look(net, images, seed, batch_size) for net in nets]
        pictures.save(folder / "selection.png", selection.selection_picture(titles, found))
        selection.selection_plots(titles, found, folder / "selection_plots.png")
        description = {
            "images": [str(path) for path in images] or None,
            "dead": DEAD,
            "dominant": DOMINANT,
            "band_edges": EDGES,
            "runs": [
                {"ckpt": str(path), **selection.describe(each)}
                for path, each in zip(ckpt, found, strict=True)
            ],
        }
        (folder / "selection.json").write_text(json.dumps(description, indent=1) + "\n")
        arrays: dict[str, Any] = {}
        for number, each in enumerate(found, 1):
            arrays[f"filters_{number}"] = np.moveaxis(each.kernel, -1, 0)
            arrays[f"spectra_{number}"] = np.float32(spectra(each.kernel))
            arrays[f"projections_{number}"] = each.projections
        np.savez_compressed(folder / "selection.npz", **arrays)
    print(selection.table(titles, found))
    print(f"wrote selection.png, selection_plots.png, .json and .npz to {out}: {len(nets)} nets")


def _look(net: Net, images: Sequence[Path], seed: int, batch_size: int) -> Selection:
    source, skipped = open_seen(images, net.config)
    warn_of_skipped(skipped)
    frames = Frames.of(source, net.preprocessing.frame, net.config.data.cache_gib)
    with expect_all_there(source):
        return look(net, frames, seed=seed, batch_size=batch_size)


if __name__ == "__main__":
    cli.run(main)
