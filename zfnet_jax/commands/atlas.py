"""Make the feature atlas: the top-k units of every map, projected, as a browsable folder."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from zfnet_jax.analysis.evolution import Evolution, evolve
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import open_images, training_of
from zfnet_jax.core.files import PARTIAL, beside, whole_folder, work_folder
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.source import expect_all_there
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features.controls import Control
from zfnet_jax.features.image_set_mining import mine_image_set
from zfnet_jax.networks.net import Net
from zfnet_jax.report import plots
from zfnet_jax.report.atlas import Subject, default_layers, write_atlas
from zfnet_jax.training import checkpoint, metrics, run_folder
from zfnet_jax.zfnet.architecture import Conv


def main(
    ckpt: options.Checkpoint,
    images: options.Images = (),
    layers: Annotated[
        options.Layers,
        tyro.conf.arg(help="names of layers; by default all convolutions and the last layer."),
    ] = (),
    top: options.Top = 9,
    control: Control | None = None,
    evolution: bool = True,
    raw: bool = False,
    seed: int = 0,
    batch_size: options.BatchSize = 32,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a folder of pages with the top-k units of every feature map.

    Example: zfnet-jax atlas --ckpt runs/shapes --out atlas

    Args:
      control: show beside each map what a net of random weights, shuffled switches or another map
        would give.
      evolution: show each map at the epochs that the run has snapshots of, over its training set.
      raw: keep the projections as floats, one raw/LAYER.npy for each layer.
      seed: of the control, and of the maps that the figures show.
    """
    run = run_folder.run_of(ckpt)
    out = out or run_folder.output_of(ckpt, "atlas")
    command_line.expect("top", top, top >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    progress, work = beside(out, ".mining.npz"), beside(out, f".work{PARTIAL}")
    with whole_folder(out, overwrite=overwrite) as folder:
        net = checkpoint.load(ckpt)
        layers = layers or default_layers(net.architecture)
        for layer in layers:
            net.architecture.index(layer)
        opened = open_images(net, images)
        source = opened.source
        if len(source) < top:
            print(f"{len(source)} pictures are fewer than --top {top}: no map shows more than that")
        image_set = opened.frames(net, cache_gib=0)
        with expect_all_there(source), work_folder(work):
            with command_line.resumable(progress):
                statistics = mine_image_set(
                    net,
                    image_set,
                    layers,
                    min(top, len(source)),
                    batch_size=batch_size,
                    progress=progress,
                )
            subject = Subject(
                title=net.name,
                net=net,
                images=image_set,
                source=opened.origin,
                wanted=top,
                statistics=statistics,
                evolution=_evolution(net, run, layers, work, batch_size) if evolution else {},
                facts=_facts(net, run),
                curves=_draw_curves(run, folder),
            )
            dead = write_atlas(subject, folder, work, control=control, seed=seed, raw=raw)
    progress.unlink(missing_ok=True)
    maps = sum(len(of_layer.histogram) for of_layer in statistics.values())
    print(f"wrote {out}: open {out / 'index.html'}; {maps} maps, {dead} dead")


def _evolution(
    net: Net, run: Path | None, layers: Sequence[str], work: Path, batch_size: int
) -> dict[str, Evolution]:
    """The maps of the convolutions at the epochs that the run has kept."""
    snapshots = run_folder.snapshots(run) if run else {}
    spatial = [layer for layer in layers if isinstance(net.architecture[layer], Conv)]
    if not snapshots or not spatial:
        return {}
    config = training_of(net)
    train = open_splits(config.data, config.seed).train
    image_set = ImageSet.of(train, net.preprocessing.frame, cache_gib=0)
    folder = work / "evolution"
    folder.mkdir()
    with expect_all_there(train):
        return evolve(snapshots, image_set, spatial, folder, batch_size=batch_size)


def _facts(net: Net, run: Path | None) -> list[tuple[str, str]]:
    """What the index says of the net: how well it validated at its step, and its size."""
    count = net.architecture.parameter_count(len(net.class_names))
    facts = [("step", f"{net.step:,}"), ("parameters", f"{count:,}")]
    for line in metrics.read(run) if run else ():
        if line["split"] == "val" and line["step"] == net.step:
            facts.insert(0, ("validation top-1", f"{line['top1']:.1%}"))
            facts.insert(1, ("per class", f"{line['per_class']:.1%}"))
    return facts


def _draw_curves(run: Path | None, folder: Path) -> str | None:
    """The name of the picture of the training curves in a folder; None without a run."""
    lines = metrics.read(run) if run else []
    if not lines:
        return None
    plots.training_curves(lines, folder / "curves.png")
    return "curves.png"


run = partial(command_line.run, main)
