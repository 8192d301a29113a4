"""Measure the worth of each layer's features on other pictures, as in Table 7."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from zfnet_jax.commands import command_line
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.data.source import expect_all_there
from zfnet_jax.experiments import features
from zfnet_jax.experiments import transfer_tables as report
from zfnet_jax.experiments.folds import TEST_LIMIT, ShortClasses, as_text
from zfnet_jax.experiments.labelled_images import (
    Classes,
    open_labelled_images,
    warn_of_shared_classes,
)
from zfnet_jax.experiments.record import Record
from zfnet_jax.experiments.transfer import Plan
from zfnet_jax.features import controls
from zfnet_jax.training import checkpoint, run_folder


def main(
    ckpt: Path,
    source: str,
    layers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...")] = (),
    classifiers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="svm softmax")] = (
        "svm",
        "softmax",
    ),
    count: int = 30,
    folds: int = 5,
    test: int = TEST_LIMIT,
    classes: Classes = "all",
    exclude: str | None = None,
    short_classes: ShortClasses = "refuse",
    values: int = features.VALUE_LIMIT,
    control: bool = False,
    c: float | None = None,
    seed: int = 0,
    batch_size: int = 32,
    out: Path | None = None,
    paper: bool = False,
) -> None:
    """Train a linear SVM and a softmax on the features of every layer of a net.

    Example: zfnet-jax layer-features --ckpt runs/half --source folder:pictures

    Stopped at any point, the same command goes on from what is finished.

    Args:
      ckpt: a run, a step of one, a .safetensors file, or a name such as caltech101.
      source: folder:PATH, tfds:NAME[@DIR] or shapes, all splits together.
      layers: which layers; by default all convolutions and hidden dense layers.
      classifiers: svm, softmax or both.
      count: training images a class.
      folds: draws of pictures.
      test: test images a class at most.
      classes: all, or unseen for those whose names are not among the net's classes.
      exclude: a file that lists pictures to leave out, such as the exclude.txt of overlap.
      short_classes: refuse or leave-out, for classes with fewer images than asked for.
      values: features a picture at most; the maps of larger layers are averaged over the finest
        square grid that keeps to it.
      control: also the features of the same architecture with random weights.
      c: inverse strength of the penalty, for features of unit length; by default chosen
        inside each training part.
      seed: of the draws and the random weights.
      batch_size: images at a time.
      out: the folder to write to; by default layer_features in the run's folder.
      paper: also draw the paper's numbers, which are of other pictures, in the figure.
    """
    try:
        from zfnet_jax.experiments import layer_features as experiment
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        raise ValueError(
            "scikit-learn is missing, which the SVM comes from: pip install scikit-learn"
        ) from None
    for name, value in (("count", count), ("folds", folds), ("test", test)):
        command_line.expect(name, value, value >= 1, "1 or more")
    for name, value in (("values", values), ("batch-size", batch_size)):
        command_line.expect(name, value, value >= 1, "1 or more")
    command_line.expect("c", c, c is None or c > 0, "a number above 0")
    command_line.expect("seed", seed, seed >= 0, "0 or more")
    for name in classifiers:
        command_line.expect("classifiers", name, name in experiment.FITS, "svm or softmax")
    net = checkpoint.load(ckpt)
    numbers = features.numbers(net.architecture)
    read = partial(features.reading, net.architecture, value_limit=values)
    readings = [read(layer) for layer in dict.fromkeys(layers or numbers)]
    images = open_labelled_images(source, net, classes, exclude)
    plan = Plan((count,), folds, seed, test, short_classes)
    left_out = plan.short(images)[count]
    drawn = [plan.draw(images, count, fold) for fold in range(folds)]
    shared = warn_of_shared_classes(images, net)
    out = out or run_folder.output_of(ckpt, "layer_features")
    identity: dict[str, Any] = {
        "net": features.identify(net),
        "pictures": features.identify_pictures(images),
        "count": count,
        "values": values,
        "test": test,
        "seed": seed,
        "c": c,
    }
    record = Record(out, "layer_features", identity, renewing=["net"])
    nets = {"trained": net}
    if control:
        nets["random weights"] = controls.net_of("random-weights", net, seed)
    with expect_all_there(images):
        for name, variant in nets.items():
            cache = out / "features" / name.replace(" ", "-")
            computed = features.compute(variant, images, readings, cache, batch_size=batch_size)
            experiment.layer_features(computed, images.labels, drawn, classifiers, record, name, c)
    rows = experiment.rows(record.parts, list(numbers))
    # The record also holds the layers of earlier calls.
    readings = [read(layer) for layer in dict.fromkeys(row.layer for row in rows)]
    text = report.layers_text(rows, numbers)
    description = {
        "ckpt": str(ckpt),
        "step": net.step,
        "source": source,
        "exclude": exclude,
        **record.identity,
        "folds": sorted({part["fold"] for part in record.parts}),
        "classes": [images.class_names[label] for label in drawn[0].classes],
        "shared_classes": shared,
        "left_out": [name._asdict() for name in left_out],
        "readings": [reading.to_json() for reading in readings],
        "table": [row._asdict() for row in rows],
        "parts": record.parts,
    }
    title = (
        f"{len(drawn[0].classes)} classes of {Path(source).name}, {count} training images a class"
    )
    with output_folder(out, wait=True) as made:
        (made / "layer_features.md").write_text(text + "\n")
        report.layers_picture(rows, numbers, title, made / "layer_features.png", paper=paper)
        write_json(made / "layer_features.json", description)
    for layer, _, shape, grid in readings:
        if grid:
            size, cells = (" x ".join(map(str, sides)) for sides in (shape[:2], grid))
            number = grid[0] * grid[1] * shape[-1]
            print(f"{layer}: maps of {size} averaged over {cells} cells, {number} values")
    if left_out:
        print(f"left out, too few pictures: {as_text(left_out)}")
    print(text)
    print(f"wrote layer_features.png, .md and .json to {out}: {len(record.parts)} parts")


run = partial(command_line.run, main)
