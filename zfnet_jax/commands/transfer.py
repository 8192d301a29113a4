"""Measure the worth of a net's features on other pictures, as in Tables 4 to 6 and Fig 9."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from zfnet_jax import config
from zfnet_jax.commands import command_line
from zfnet_jax.core import identity as identities
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.data.source import expect_all_there
from zfnet_jax.data.voc import open_voc
from zfnet_jax.experiments import features, transfer
from zfnet_jax.experiments import transfer_tables as report
from zfnet_jax.experiments.features import Reading
from zfnet_jax.experiments.folds import TEST_LIMIT, Short, ShortClasses, as_text
from zfnet_jax.experiments.labelled_images import (
    Classes,
    LabelledImages,
    open_labelled_images,
    warn_of_shared_classes,
)
from zfnet_jax.experiments.record import Record
from zfnet_jax.experiments.transfer import Plan
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint, run_folder

COUNTS = (1, 2, 3, 4, 5, 6, 7, 10, 15, 30)
"""The counts of Fig 9 that Caltech-101 has enough pictures for."""

SCRATCH_COUNTS = (15, 30)
"""The paper's counts on Caltech-101."""

Numbers = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")]


def main(
    ckpt: Path,
    source: str,
    layer: str | None = None,
    counts: Numbers = COUNTS,
    folds: int = 5,
    test: int = TEST_LIMIT,
    classes: Classes = "all",
    exclude: str | None = None,
    short_classes: ShortClasses = "refuse",
    scratch_config: Path | None = None,
    scratch_counts: Numbers | None = None,
    scratch_folds: int | None = None,
    c: float | None = None,
    seed: int = 0,
    batch_size: int = 32,
    out: Path | None = None,
    paper: bool = False,
) -> None:
    """Train a new softmax on a net's features, over the number of images a class.

    Example: zfnet-jax transfer --ckpt runs/half --source folder:pictures --classes unseen

    Stopped at any point, the same command goes on from what is finished.

    Args:
      ckpt: a run, a step of one, a .safetensors file, or a name such as caltech101.
      source: folder:PATH, tfds:NAME[@DIR] or shapes, all splits together; or voc:PATH, the folder
        VOC2012, for average precision on its validation pictures after training on the others,
        where nothing is drawn.
      layer: whose features; by default the hidden layer below the logits.
      counts: training images a class.
      folds: draws of pictures for each.
      test: test images a class at most.
      classes: all, or unseen for those whose names are not among the net's classes.
      exclude: a file that lists pictures to leave out, such as the exclude.txt of overlap.
      short_classes: refuse or leave-out, for classes with fewer images than asked for.
      scratch_config: also train the net's architecture from random weights on the same pictures,
        by this configuration's recipe.
      scratch_counts: training images a class for that; by default 15 and 30.
      scratch_folds: draws for that; by default as many as folds.
      c: inverse strength of the softmax's penalty, for features of unit length; by default chosen
        inside each training part.
      seed: of the draws.
      batch_size: images at a time.
      out: the folder to write to; by default transfer, or voc, in the run's folder.
      paper: also draw the paper's numbers, which are of other pictures, in the figure.
    """
    scratch_options = (("scratch-counts", scratch_counts), ("scratch-folds", scratch_folds))
    for name, value in scratch_options:
        needed = value is None or scratch_config is not None
        command_line.expect(name, _shown(value), needed, "none without --scratch-config")
    sizes = (("folds", folds), ("test", test), ("batch-size", batch_size))
    for name, value in (("counts", counts), *sizes, *scratch_options):
        smallest = min(value, default=0) if isinstance(value, tuple) else value
        command_line.expect(name, _shown(value), smallest is None or smallest >= 1, "1 or more")
    command_line.expect("c", c, c is None or c > 0, "a number above 0")
    command_line.expect("seed", seed, seed >= 0, "0 or more")
    net = checkpoint.load(ckpt)
    hidden = list(features.blocks(net.architecture))
    wanted = features.reading(net.architecture, layer or hidden[-1])
    out = out or run_folder.output_of(ckpt, "voc" if source.startswith("voc:") else "transfer")
    about = {"ckpt": str(ckpt), "step": net.step, "source": source, "reading": wanted.to_json()}
    if source.startswith("voc:"):
        command_line.expect(
            "scratch-config", scratch_config, scratch_config is None, "none with voc:PATH"
        )
        # The data set says which pictures train and which test.
        for name, value, usual in (
            *(("counts", counts, COUNTS), ("folds", folds, 5), ("test", test, TEST_LIMIT)),
            *(("classes", classes, "all"), ("exclude", exclude, None)),
            ("short-classes", short_classes, "refuse"),
        ):
            command_line.expect(name, _shown(value), value == usual, "none with voc:PATH")
        root = Path(source.removeprefix("voc:")).expanduser()
        _voc(net, root, wanted, c, seed, batch_size, out, about, paper)
        return
    images = open_labelled_images(source, net, classes, exclude)
    plan = Plan(counts, folds, seed, test, short_classes)
    left_out, scratch = plan.short(images), None
    if scratch_config is not None:
        base = config.load(scratch_config)
        transfer.expect_recipe(base, source, images)
        again = replace(plan, counts=scratch_counts or SCRATCH_COUNTS, folds=scratch_folds or folds)
        scratch = replace(base, architecture=net.architecture), again
        left_out |= again.short(images)
    about |= {
        "images": len(images),
        "classes": list(images.class_names),
        "test": test,
        "seed": seed,
    }
    about |= {"c": c, "exclude": exclude, "shared_classes": warn_of_shared_classes(images, net)}
    identity = _identity(net, images, wanted, test, seed, c, scratch)
    record = Record(out, "transfer", identity, later=["scratch_recipe"], renewing=["net"])
    with expect_all_there(images):
        values = features.compute(net, images, [wanted], out / "features", batch_size=batch_size)
        transfer.transfer(values[wanted.layer], images, plan, record, c)
        if scratch is not None:
            runs = out / "scratch"
            with command_line.resumable(out):
                transfer.from_scratch(scratch[0], source, images, scratch[1], record, runs)
    about |= record.identity
    left_out = {n: short for n, short in left_out.items() if short}
    _write(out, about, record, left_out, paper)


def _shown(value: object) -> object:
    """An option's value as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _write(
    out: Path, about: dict[str, Any], record: Record, left_out: dict[int, list[Short]], paper: bool
) -> None:
    rows = transfer.rows(record.parts)
    description = {
        **about,
        "left_out": {n: [name._asdict() for name in short] for n, short in left_out.items()},
        "table": [row._asdict() for row in rows],
        "parts": record.parts,
    }
    text, data = report.transfer_text(rows), Path(about["source"]).name
    title = f"{len(about['classes'])} classes of {data}, features of {about['reading']['layer']}"
    with output_folder(out, wait=True) as made:
        (made / "transfer.md").write_text(text + "\n")
        report.transfer_picture(rows, title, made / "transfer.png", paper=paper)
        write_json(made / "transfer.json", description)
    print(text)
    for n, short in left_out.items():
        print(f"left out at {n} a class, too few pictures: {as_text(short)}")
    print(f"wrote transfer.png, .md and .json to {out}: {len(record.parts)} parts")


def _identity(
    net: Net,
    images: LabelledImages,
    wanted: Reading,
    test: int,
    seed: int,
    c: float | None,
    scratch: tuple[config.TrainConfig, Plan] | None,
) -> dict[str, Any]:
    """What all parts of one experiment have in common."""
    recipe = {} if scratch is None else {"scratch_recipe": config.recipe(scratch[0])}
    return {
        "net": features.identify(net),
        "pictures": features.identify_pictures(images),
        "layer": wanted.layer,
        "test": test,
        "seed": seed,
        "c": c,
        **recipe,
    }


def _voc(
    net: Net,
    root: Path,
    wanted: Reading,
    c: float | None,
    seed: int,
    batch_size: int,
    out: Path,
    about: dict[str, Any],
    paper: bool,
) -> None:
    sets = open_voc(root, "train"), open_voc(root, "val")
    images, count = LabelledImages.of(*sets), len(sets[0])
    identity = {
        "net": features.identify(net),
        "pictures": features.identify_pictures(images),
        "present": identities.of_arrays([part.present for part in sets]),
        "layer": wanted.layer,
        "seed": seed,
        "c": c,
    }
    record = Record(out, "voc", identity, renewing=["net"])
    key = {"train": count, "val": len(sets[1])}
    result = record.find(**key)
    if result is None:
        with expect_all_there(images):
            computed = features.compute(
                net, images, [wanted], out / "features", batch_size=batch_size
            )
        values = computed[wanted.layer]
        fitted = transfer.transfer_voc(values[:count], values[count:], *sets, seed=seed, c=c)
        result = record.add(key, fitted)
    precisions = result["average_precision"]
    text = report.voc_text(precisions)
    description = {**about, **record.identity, **result}
    with output_folder(out, wait=True) as made:
        (made / "voc.md").write_text(text + "\n")
        title = f"PASCAL VOC 2012, train to val, features of {wanted.layer}"
        report.voc_picture(precisions, title, made / "voc.png", paper=paper)
        write_json(made / "voc.json", description)
    print(text)
    print(f"wrote voc.png, .md and .json to {out}: {len(images)} pictures")


run = partial(command_line.run, main)
