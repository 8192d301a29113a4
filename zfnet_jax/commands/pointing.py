"""Check on drawn pictures, whose objects are known, that occlusion finds the object."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from zfnet_jax.analysis.occlusion import BATCH, in_proportion, occlude, positions
from zfnet_jax.analysis.pointing import SIZE, STRIDE, Pointing, point
from zfnet_jax.analysis.winograd import fast_network
from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import training_of
from zfnet_jax.core.files import expect_free, output_folder
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features import controls
from zfnet_jax.networks.function import network_input
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.zfnet.architecture import Conv


def main(
    ckpt: Path,
    count: int = 500,
    size: int | None = None,
    stride: int | None = None,
    value: float = 0.0,
    least: float = 0.05,
    seed: int = 0,
    batch_size: int = BATCH,
    out: Path | None = None,
) -> None:
    """Ask how often the square that costs most lies on the object, of a net and a random one.

    Example: zfnet-jax pointing --ckpt runs/shapes

    Each picture is a forward pass for every position of the square, by default 961 at 64 pixels;
    --count 50 is a first impression.

    Counted are pictures that the net classifies correctly and whose class loses enough probability
    somewhere, which a small square costs few of; a net of random weights is asked of the same
    pictures and classes.

    Args:
      ckpt: a run on the data set `shapes`, a step of one, or a .safetensors file.
      count: how many pictures of the validation set, from the first.
      size: of the square, in pixels; by default 10 at 224 and in proportion, no wider than a thin
        part. The paper's square has 50.
      stride: from one position to the next; by default 7 at 224 and in proportion.
      value: of the pixels in the square, in network space, where 0 is the mean.
      least: the largest drop of the class's probability that counts, 0..1.
      seed: of the random net.
      batch_size: positions at a time.
      out: the folder to write to; by default pointing in the run's folder.
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
    size, stride = usual[0] if size is None else size, usual[1] if stride is None else stride
    positions((input_size, input_size), size, stride)
    config = training_of(net)
    source = open_splits(config.data, config.seed).val
    if not isinstance(source, Shapes):
        raise ValueError(
            f"{ckpt}: trained on {config.data.source}; expected a run on shapes, whose "
            "objects' masks are known"
        )
    options = {"size": size, "stride": stride, "value": value, "batch_size": batch_size}
    items = np.arange(min(count, len(source)))
    trained = _play(net, source, items, "the net", **options)
    counted = np.array([each.correct and each.drop >= least for each in trained])
    if not counted.any():
        raise ValueError(
            f"none of {len(items)} pictures is classified correctly and loses {least} somewhere; "
            "expected one: a larger --size, a smaller --least or more --count"
        )
    random_net = controls.net_of("random-weights", net, seed)
    results = {
        "net": [each for each, counts in zip(trained, counted, strict=True) if counts],
        "random weights": _play(random_net, source, items[counted], "random weights", **options),
    }
    description = {
        "ckpt": str(ckpt),
        **options,
        "least": least,
        "pictures": len(items),
        "correct": sum(each.correct for each in trained),
        "counted": items[counted].tolist(),
        **{name: _summary(played) for name, played in results.items()},
    }
    with output_folder(out) as folder:
        _draw(results, folder / "pointing.png")
        (folder / "pointing.json").write_text(json.dumps(description, indent=1) + "\n")
    for name, played in results.items():
        told = _summary(played)
        print(
            f"{name}: centre of the square on the object {told['centre']:.1%}, peak of the mean "
            f"{told['peak']:.1%}, square touches it {told['touches']:.1%}, correlation "
            f"{told['correlation']:.2f}"
        )
    told = _summary(results["net"])
    print(
        f"on the object are also {told['chance']:.1%} of all squares' centres, and "
        f"{told['fullest']:.1%} of those of the squares that hide the most of it"
    )
    print(
        f"wrote pointing.png and .json to {out}: {counted.sum()} of {len(items)} pictures counted"
    )


def _play(net: Net, source: Shapes, items: np.ndarray, name: str, **options: Any) -> list[Pointing]:
    function, view = fast_network(net), network_input(net)
    layer = [each.name for each in net.architecture if isinstance(each, Conv)][-1]
    # Drawn at the frame's size, its pictures need no resizing and its masks fit.
    drawn = replace(source, size=net.preprocessing.frame)
    played = []
    for item in tqdm(items, name, disable=None, leave=False, unit="picture"):
        scene = drawn.scene(int(item))
        image = np.asarray(view(scene.image[None]))[0]
        mask = centre_view(scene.object_mask[None], len(image))[0]
        played.append(point(occlude(function, image, layer, **options), scene.label, mask))
    return played


def _summary(played: Sequence[Pointing]) -> dict[str, float]:
    """The mean of every column over the pictures."""
    columns = zip(*played, strict=True)
    return {
        name: fmean(map(float, column))
        for name, column in zip(Pointing._fields, columns, strict=True)
    }


def _draw(results: dict[str, list[Pointing]], path: Path) -> None:
    """The shares that hit, and the histogram of correlations."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    hits, correlations = figure.subplots(1, 2)
    kinds = ("centre", "peak", "touches")
    bins = np.linspace(-1, 1, 41)
    for number, (name, colour) in enumerate(zip(results, ("#c1440e", "#8c8c8c"), strict=True)):
        told = _summary(results[name])
        places = np.arange(len(kinds)) + 0.38 * (number - 0.5)
        bars = hits.bar(places, [told[kind] for kind in kinds], 0.36, color=colour, label=name)
        hits.bar_label(bars, fmt="{:.0%}", fontsize=8)
        values = [each.correlation for each in results[name]]
        correlations.hist(values, bins.tolist(), color=colour, alpha=0.7, label=name)
    told = _summary(results["net"])
    for height, style, label in (
        (told["chance"], ":", "centres, by chance"),
        (told["fullest"], "--", "centre, most hidden"),
    ):
        hits.axhline(height, color="black", linewidth=1, linestyle=style, label=label)
    hits.set(title="On the object", ylim=(0, 1.5), yticks=[0, 0.5, 1])
    hits.set_xticks(
        range(len(kinds)), ["centre of\nthe square", "peak of\nthe mean", "the square\ntouches it"]
    )
    correlations.set(
        title="Drop of P(class) and hidden area",
        xlabel="correlation",
        ylabel="pictures",
        xticks=[-1, -0.5, 0, 0.5, 1],
    )
    for axes in (hits, correlations):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


run = partial(command_line.run, main)
