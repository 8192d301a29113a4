"""Slide a square over pictures and show what the net says of them, as in Fig 7."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from zfnet_jax.analysis.occluded_pictures import Square, occlude_pictures
from zfnet_jax.analysis.occlusion import BATCH, in_proportion, positions
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import Images, named_images, open_images, own_images
from zfnet_jax.core.files import expect_free, output_folder, write_json
from zfnet_jax.data.labels import known_labels
from zfnet_jax.data.picture_size import say_enlarged
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.source import warn_of_skipped
from zfnet_jax.networks.net import Net
from zfnet_jax.report import occlusion as report
from zfnet_jax.report.occlusion_page import write_page
from zfnet_jax.training import checkpoint, run_folder


def main(
    ckpt: options.Checkpoint,
    images: options.Images = (),
    labels: options.Labels = (),
    others: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None,
    stride: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None,
    value: float = 0.0,
    layer: options.Layer = None,
    map: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None,
    count: int = 5,
    seed: int = 0,
    batch_size: int = BATCH,
    out: options.Out = None,
) -> None:
    """Hide every part of a picture in turn and see what the net makes of the rest.

    Example: zfnet-jax occlusion --ckpt runs/shapes --images cat.jpg --class cat

    occlusion.npz holds probability (rows, cols, classes), activity (rows, cols) and top_left (rows,
    cols, 2); of several pictures the first two have the picture as their first axis.

    Args:
      others: where the map's strongest other pictures are looked for; by default in the net's own
        validation set, or where that is not here among the pictures.
      size: of the square; by default 50 at 224 and in proportion.
      stride: from one position to the next; by default 6 at 224 and in proportion.
      value: of the pixels in the square, in network space, where 0 is the mean.
      map: the number of the feature map that is watched; by default the one that responds most to
        the whole picture.
      count: how many pictures of the validation set, where no --images are given.
      seed: of the choice of these.
      batch_size: positions of the square at a time.
    """
    out = out or run_folder.output_of(ckpt, "occlusion")
    expect_free(out, overwrite=True)
    command_line.expect("count", count, count >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    command_line.expect("value", value, math.isfinite(value), "a finite number")
    net = checkpoint.load(ckpt)
    arch = net.architecture
    layer = arch[layer].name if layer else arch.convolutions[-1].name
    usual = in_proportion(arch.input_size)
    square = Square(
        usual[0] if size is None else size, usual[1] if stride is None else stride, value
    )
    positions((arch.input_size, arch.input_size), square.size, square.stride)
    opened = open_images(net, images, labels)
    source = opened.source
    items = np.arange(len(source))
    if not images:
        items = np.sort(np.random.default_rng(seed).permutation(items)[:count])
    known = known_labels(net.class_names, source, items, labels)
    say_enlarged(source, items.tolist(), net.preprocessing.frame)
    others_from, other_images = _open_others(net, others, images, opened)
    results = occlude_pictures(
        net,
        opened.frames(net),
        items,
        known,
        other_images,
        layer,
        square,
        map_number=map,
        batch_size=batch_size,
    )
    if None in known:
        print(f"no class is known of {known.count(None)} pictures: the predicted one is taken")
    with output_folder(out) as folder:
        report.draw(results, net.class_names, layer, folder / "occlusion.png")
        write_page(results, net.class_names, layer, net.name, folder / "index.html")
        write_json(
            folder / "occlusion.json",
            {
                "ckpt": str(ckpt),
                "step": net.step,
                **square._asdict(),
                "layer": layer,
                "positions": list(results[0].sweep.activity.shape),
                "others": others_from,
                "skipped": [skip._asdict() for skip in opened.skipped],
                "images": [report.describe(result, net.class_names) for result in results],
            },
        )
        np.savez_compressed(folder / "occlusion.npz", **report.arrays(results))
    print(
        f"wrote occlusion.png, .json and .npz and index.html to {out}: {len(results)} pictures, "
        f"{results[0].sweep.activity.size} positions each"
    )


def _open_others(
    net: Net, others: Sequence[Path], images: Sequence[Path], opened: Images
) -> tuple[str, ImageSet]:
    """Where the map's strongest other pictures are looked for, and these pictures."""
    if others:
        searched = named_images(others)
        warn_of_skipped(searched.skipped)
    else:
        searched = own_images(net) if images else opened
    if searched is None:
        print("other pictures are looked for among those given: the net's own are not here")
        return "images", opened.frames(net)
    return searched.origin, searched.frames(net)


run = partial(command_line.run, main)
