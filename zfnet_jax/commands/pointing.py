"""Check on drawn pictures, whose objects are known, that occlusion finds the object."""

import math
from functools import partial
from typing import Annotated

import numpy as np
import tyro

from zfnet_jax.analysis.occluded_pictures import Square
from zfnet_jax.analysis.occlusion import BATCH, in_proportion, positions
from zfnet_jax.analysis.pointing import SIZE, STRIDE, means, play
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import training_of
from zfnet_jax.core.files import expect_free, output_folder, write_json
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features import controls
from zfnet_jax.report import pointing as report
from zfnet_jax.training import checkpoint, run_folder


def main(
    ckpt: options.Checkpoint,
    count: int = 500,
    size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None,
    stride: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None,
    value: float = 0.0,
    least: float = 0.05,
    seed: int = 0,
    batch_size: int = BATCH,
    out: options.Out = None,
) -> None:
    """Ask how often the square that costs most lies on the object, of a net and a random one.

    Example: zfnet-jax pointing --ckpt runs/shapes

    The net must be trained on the embedded data set, `shapes`. Each picture is a forward pass for
    every position of the square, by default 961 at 64 pixels; --count 50 is a first impression.

    Counted are pictures that the net classifies correctly and whose class loses enough probability
    somewhere, which a small square costs few of; a net of random weights is asked of the same
    pictures and classes.

    Args:
      count: how many pictures of the validation set, from the first.
      size: of the square; by default 10 at 224 and in proportion, no wider than a thin part. The
        paper's square has 50.
      stride: from one position to the next; by default 7 at 224 and in proportion.
      value: of the pixels in the square, in network space, where 0 is the mean.
      least: the largest drop of the class's probability that counts, 0..1.
      seed: of the random net.
      batch_size: positions of the square at a time.
    """
    out = out or run_folder.output_of(ckpt, "pointing")
    expect_free(out, overwrite=True)
    command_line.expect("count", count, count >= 1, "1 or more")
    command_line.expect("seed", seed, 0 <= seed < 2**31, "0 up to below 2^31")
    command_line.expect("least", least, 0 <= least <= 1, "0..1")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    command_line.expect("value", value, math.isfinite(value), "a finite number")
    net = checkpoint.load(ckpt)
    input_size = net.architecture.input_size
    usual = in_proportion(input_size, SIZE, STRIDE)
    square = Square(
        usual[0] if size is None else size, usual[1] if stride is None else stride, value
    )
    positions((input_size, input_size), square.size, square.stride)
    config = training_of(net)
    source = open_splits(config.data, config.seed).val
    if not isinstance(source, Shapes):
        raise ValueError(
            f"{ckpt}: trained on {config.data.source}; expected a run on shapes, whose "
            "objects' masks are known"
        )
    items = np.arange(min(count, len(source)))
    trained = play(net, source, items, square, batch_size=batch_size, description="the net")
    counted = np.array([result.correct and result.drop >= least for result in trained])
    if not counted.any():
        raise ValueError(
            f"none of {len(items)} pictures is classified correctly and loses {least} somewhere; "
            "expected one: a larger --size, a smaller --least or more --count"
        )
    random_net = controls.net_of("random-weights", net, seed)
    results = {
        "net": [result for result, counts in zip(trained, counted, strict=True) if counts],
        "random weights": play(
            random_net,
            source,
            items[counted],
            square,
            batch_size=batch_size,
            description="random weights",
        ),
    }
    with output_folder(out) as folder:
        report.draw(results, folder / "pointing.png")
        write_json(
            folder / "pointing.json",
            {
                "ckpt": str(ckpt),
                **square._asdict(),
                "batch_size": batch_size,
                "least": least,
                "pictures": len(items),
                "correct": sum(result.correct for result in trained),
                "counted": items[counted].tolist(),
                **{name: means(of_net) for name, of_net in results.items()},
            },
        )
    print(report.summary(results))
    print(
        f"wrote pointing.png and .json to {out}: {counted.sum()} of {len(items)} pictures counted"
    )


run = partial(command_line.run, main)
