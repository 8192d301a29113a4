"""Show whether a net knows that pictures show the same part, as in Table 1."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from zfnet_jax.analysis.correspondence import default_layers
from zfnet_jax.analysis.hidden_parts import HiddenPart, hide_part
from zfnet_jax.analysis.parts import Part, marked_parts, shape_parts
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import training_of
from zfnet_jax.core.files import output_folder, write_json, write_text
from zfnet_jax.data.parts import read_boxes
from zfnet_jax.data.picture_size import picture_size, say_enlarged
from zfnet_jax.data.pictures import open_pictures
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.source import Source, warn_of_skipped
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features import controls
from zfnet_jax.networks.function import network_input
from zfnet_jax.networks.net import Net
from zfnet_jax.report import correspondence as report
from zfnet_jax.report.annotate import write_annotation_page
from zfnet_jax.training import checkpoint, run_folder

VISIBLE = 224 / 256
"""How much of a picture's side the paper's net sees."""

TITLE = "Fraction of differing signs: mean over pairs of pictures ± standard deviation"


def main(
    ckpt: Annotated[
        Path | None, tyro.conf.arg(metavar="NET", help=f"{options.NET}; needed to measure.")
    ] = None,
    boxes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    folder: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    shapes: bool = False,
    count: int = 20,
    random: int = 10,
    layers: Annotated[
        options.Layers,
        tyro.conf.arg(
            help="names of layers; by default the last convolution and the last hidden dense one."
        ),
    ] = (),
    control: bool = True,
    annotate: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    seed: int = 0,
    batch_size: options.BatchSize = 32,
    out: options.Out = None,
) -> None:
    """Hide the same part in several pictures, and measure how consistently a net answers.

    Example: zfnet-jax correspondence --ckpt runs/shapes --boxes parts.json --folder photos

    Args:
      boxes: JSON or CSV with image, part, top, left, height and width, in pixels of the pictures.
      folder: where those pictures are; by default beside the file of boxes.
      shapes: use the parts that the embedded data set knows, with a net trained on it.
      count: pictures for each part of the embedded set.
      random: at how many random places as much is hidden, for comparison.
      control: also through a net with random weights.
      annotate: only write a page on which to mark the parts in this folder's pictures; with --ckpt
        it shows what that net sees of them.
      seed: of the random places and the random weights.
    """
    if (annotate is not None) + (boxes is not None) + shapes != 1:
        raise ValueError("expected one of --boxes FILE, --shapes and --annotate FOLDER")
    net = None if ckpt is None else checkpoint.load(ckpt)
    if annotate is not None:
        _annotate(annotate, net, out or Path("correspondence"))
        return
    if ckpt is None or net is None:
        raise ValueError("--ckpt: expected a net with --boxes or --shapes")
    layers = layers or default_layers(net.architecture)
    for layer in layers:
        net.architecture.index(layer)
    command_line.expect("random", random, random >= 1, "1 or more")
    command_line.expect("count", count, count >= 2, "2 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    if boxes is not None:
        source, parts = _marked(net, boxes, folder or boxes.parent)
    else:
        source, parts = _of_shapes(net, count)
    nets = {"trained": net}
    if control:
        nets["random weights"] = controls.net_of("random-weights", net, seed)
    images = ImageSet.of(source, net.preprocessing.frame, cache_gib=0)
    view, left_out = network_input(net), []
    rows: list[HiddenPart] = []
    for part in tqdm(parts, "hiding", disable=None, leave=False, unit="part"):
        if len(part.items) < 2:
            left_out.append(part.name)
            continue
        seen = np.asarray(view(images.batch(part.items).frames))
        rows.append(
            hide_part(nets, seen, part, layers, random=random, seed=seed, batch_size=batch_size)
        )
    if not rows:
        raise ValueError(
            f"{', '.join(left_out)}: in fewer than 2 pictures with a place beside it; expected a "
            "part in 2 or more, or a larger --count"
        )
    out = out or run_folder.output_of(ckpt, "correspondence")
    text = report.as_text(rows, TITLE)
    with output_folder(out) as made:
        write_text(made / "correspondence.txt", text)
        report.table_picture(rows, TITLE, made / "correspondence.png")
        write_json(
            made / "correspondence.json",
            {
                "ckpt": str(ckpt),
                "step": net.step,
                "boxes": "shapes" if boxes is None else str(boxes),
                "random": random,
                "seed": seed,
                "left_out": left_out,
                "table": report.describe(rows),
            },
        )
    print(text)
    if left_out:
        print(f"left out, no place beside them in 2 pictures: {', '.join(left_out)}")
    print(f"wrote correspondence.png, .txt and .json to {out}: {len(rows)} parts")


def _annotate(folder: Path, net: Net | None, out: Path) -> None:
    command_line.expect("annotate", folder, folder.is_dir(), "a folder of pictures")
    source, skipped = open_pictures([folder])
    warn_of_skipped(skipped)
    share = net.architecture.input_size / net.preprocessing.frame if net else VISIBLE
    names = [path.relative_to(folder).as_posix() for path in source.paths]
    with output_folder(out) as made:
        title = folder.absolute().name
        write_annotation_page(made / "annotate.html", title, source.paths, names, share)
    print(f"wrote annotate.html to {out}: {len(names)} pictures; open it in a browser")


def _marked(net: Net, path: Path, folder: Path) -> tuple[Source, Iterable[Part]]:
    """The pictures of a file of boxes, and its parts in the net's input."""
    boxes = read_boxes(path)
    names = list(next(iter(boxes.values())))
    source, _ = open_pictures([folder / name for name in names])
    frame, size = net.preprocessing.frame, net.architecture.input_size
    say_enlarged(source, range(len(source)), frame)
    sizes = {name: picture_size(source[item].image) for item, name in enumerate(names)}
    try:
        return source, marked_parts(boxes, sizes, frame, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _of_shapes(net: Net, count: int) -> tuple[Source, Iterable[Part]]:
    """The embedded validation set, and its parts in the net's input."""
    config = training_of(net)
    source = open_splits(config.data, config.seed).val
    if not isinstance(source, Shapes):
        raise ValueError(
            f"--shapes: expected a net trained on shapes, this one was on {config.data.source}"
        )
    frame, size = net.preprocessing.frame, net.architecture.input_size
    return source, shape_parts(source, frame, size, count)


run = partial(command_line.run, main)
