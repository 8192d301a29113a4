"""The worth of a net's features on other pictures: a new softmax on fixed layers.

Zeiler & Fergus 2014, section 5.2, Tables 4 to 6 and Fig 9: n training images a class, the mean of
per-class accuracies over folds, beside the same architecture trained from random weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from zfnet_jax.config import TrainConfig
from zfnet_jax.core.files import write_text
from zfnet_jax.data.voc import Voc, average_precision
from zfnet_jax.experiments.classify import PARTS, choose_c, for_unit_rows, score, split, standardise
from zfnet_jax.experiments.folds import TEST_LIMIT, Fold, Short, ShortClasses, make_fold
from zfnet_jax.experiments.labelled_images import LabelledImages
from zfnet_jax.experiments.record import Record
from zfnet_jax.experiments.softmax import fit_softmax
from zfnet_jax.experiments.spread import spread
from zfnet_jax.report.training_run import draw_training_run
from zfnet_jax.training import checkpoint
from zfnet_jax.training.evaluation import evaluate_nets
from zfnet_jax.training.run import fit
from zfnet_jax.training.run_folder import locked

PRE_TRAINED, SCRATCH = "pre-trained", "from scratch"


@dataclass(frozen=True)
class Plan:
    """How pictures are drawn.

    Attributes:
      counts: training pictures a class, each value in turn.
      folds: draws for each.
      seed: of all draws.
      test_limit: test pictures a class at most.
      short_classes: "refuse" or "leave-out", for classes with too few pictures.
    """

    counts: tuple[int, ...]
    folds: int = 5
    seed: int = 0
    test_limit: int = TEST_LIMIT
    short_classes: ShortClasses = "refuse"

    def draw(self, images: LabelledImages, n: int, fold: int) -> Fold:
        """One fold."""
        return self._draw(images, n, fold)[0]

    def short(self, images: LabelledImages) -> dict[int, list[Short]]:
        """By count, the classes that are left out; ValueError where none may be."""
        return {n: self._draw(images, n, 0)[1] for n in self.counts}

    def _draw(self, images: LabelledImages, n: int, fold: int) -> tuple[Fold, list[Short]]:
        return make_fold(
            images.labels,
            images.class_names,
            n,
            fold,
            seed=self.seed,
            test_limit=self.test_limit,
            short_classes=self.short_classes,
        )


def transfer(
    features: Any, images: LabelledImages, plan: Plan, record: Record, c: float | None = None
) -> None:
    """Trains a softmax on fixed features for every count and fold that the record lacks.

    Args:
      features: (N, D) of the images's pictures, may be memory-mapped.
      images: the pictures.
      plan: which of them train and test.
      record: where each finished part goes.
      c: inverse strength of the penalty, for rows of unit length; None chooses it inside
        each training part.
    """
    wanted = [(n, fold) for n in plan.counts for fold in range(plan.folds)]
    for n, fold in tqdm(wanted, PRE_TRAINED, disable=None, leave=False, unit="fold"):
        key = {"model": PRE_TRAINED, "n": n, "fold": fold}
        if record.find(**key) is None:
            parts = split(features, images.labels, plan.draw(images, n, fold))
            record.add(key, score(fit_softmax, parts, c)._asdict())


def from_scratch(
    base: TrainConfig, source: str, images: LabelledImages, plan: Plan, record: Record, out: Path
) -> None:
    """Trains a net from random weights for every count and fold that the record lacks.

    The last step of each run counts, not the best on its validation pictures: these are test
    pictures, one of each class, which only show how a run gets on.

    Args:
      base: the architecture and the recipe.
      source: the "folder:PATH" that the images come from.
      images: the pictures, named CLASS/FILE.
      plan: which of them train and test.
      record: where each finished part goes.
      out: the folder of the runs, each of which goes on where it stopped.
    """
    for n in plan.counts:
        for fold in range(plan.folds):
            key = {"model": SCRATCH, "n": n, "fold": fold}
            if record.find(**key) is not None:
                continue
            drawn, run = plan.draw(images, n, fold), out / f"n{n}_fold{fold}"
            config = _scratch_config(base, source, images, drawn, run, seed=plan.seed + fold)
            with locked(run):
                fit(config, run)
                draw_training_run(run)
            tested = images.take(drawn.test).only(drawn.classes)
            (scores,) = evaluate_nets([checkpoint.load(run)], tested)
            results = {"accuracy": scores["per_class"], "classes": len(drawn.classes)}
            record.add(key, {**results, "test": len(tested)})


def expect_recipe(base: TrainConfig, source: str, images: LabelledImages) -> None:
    """Raises ValueError where nets cannot be trained from scratch on the images by this recipe."""
    if base.optimizer.schedule == "plateau":
        raise ValueError(
            "optimizer.schedule 'plateau': expected cosine or constant from scratch, since the "
            "validation pictures are test pictures, which must not steer the training"
        )
    classes = (images.class_names[label] for label in images.labels)
    pairs = zip(images.names, classes, strict=True)
    if not source.startswith("folder:") or any(n.split("/")[0] != name for n, name in pairs):
        raise ValueError(
            f"{source}: expected folder:PATH with PATH/CLASS/PICTURE to train from scratch"
        )


def _scratch_config(
    base: TrainConfig, source: str, images: LabelledImages, fold: Fold, run: Path, seed: int
) -> TrainConfig:
    """The recipe on one fold, whose lists it writes."""
    names = images.names
    _, watched = np.unique(images.labels[fold.test], return_index=True)
    lists = {}
    for name, items in (("train", fold.train), ("val", fold.test[watched])):
        path = run.with_name(f"{run.name}_{name}.txt").absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(f"{names[item]}\n" for item in items))
        lists[f"{name}_list"] = str(path)
    devices = jax.device_count()
    batch_size = min(base.train.batch_size, len(fold.train)) // devices * devices
    return replace(
        base,
        name=run.name,
        seed=seed,
        data=replace(base.data, source=source, exclude=None, **lists),
        train=replace(base.train, batch_size=batch_size, keep=1, snapshot_epochs=()),
    )


class Row(NamedTuple):
    """One line of the table: the folds of a model and a count together.

    Attributes:
      model: which net.
      n: training pictures a class.
      mean: of the accuracies, 0..1.
      std: their sample standard deviation; None of a single fold.
      folds: how many.
      classes: how many.
    """

    model: str
    n: int
    mean: float
    std: float | None
    folds: int
    classes: int


def rows(parts: Sequence[dict[str, Any]]) -> list[Row]:
    """The finished parts as a table, by model and count."""
    table = []
    for model in (PRE_TRAINED, SCRATCH):
        for n in sorted({part["n"] for part in parts if part["model"] == model}):
            folds = [part for part in parts if (part["model"], part["n"]) == (model, n)]
            mean, std = spread([part["accuracy"] for part in folds])
            table.append(Row(model, n, mean, std, len(folds), folds[0]["classes"]))
    return table


def transfer_voc(
    train_features: Any,
    test_features: Any,
    train_set: Voc,
    test_set: Voc,
    *,
    seed: int = 0,
    c: float | None = None,
) -> dict[str, Any]:
    """Trains the 20-way softmax of Table 6, and ranks the test pictures by each class.

    A picture with several classes trains once for each of them, and objects marked as difficult
    train nothing (choices: the paper says only that its softmax gives one answer a picture).

    Args:
      train_features: (N, D).
      test_features: (M, D).
      train_set: the training split.
      test_set: the other.
      seed: of the parts of the cross-validation, which keep a picture whole.
      c: inverse strength of the penalty, for rows of unit length; None chooses it inside
        the training part.

    Returns:
      `c` and, by class, `average_precision`, 0..1, None for a class that no test picture shows.
    """
    features, tested = standardise(train_features, test_features)
    pictures, labels = np.nonzero(train_set.present == 1)
    classes = len(train_set.class_names)
    fit_rows = for_unit_rows(fit_softmax, features)
    if c is None:
        parts = np.random.default_rng(seed).permutation(len(features)) % PARTS
        c = choose_c(fit_rows, features[pictures], labels, classes, parts[pictures])
    scores = fit_rows(features[pictures], labels, classes, c)(tested)
    precisions = {
        name: average_precision(scores[:, k], test_set.present[:, k])
        for k, name in enumerate(test_set.class_names)
    }
    known = {name: None if np.isnan(value) else value for name, value in precisions.items()}
    return {"c": c, "average_precision": known}
