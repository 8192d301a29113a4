"""Accuracies, and the record of a run: metrics.jsonl and TensorBoard."""

import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from zfnet_jax.core.files import write_text

FILE = "metrics.jsonl"

_TRAIN = ("loss", "top1", "top5", "learning_rate", "images_per_second")
_VALUES = {"train": _TRAIN, "val": (*_TRAIN, "per_class")}


class Scores(NamedTuple):
    """Loss and correct predictions, as sums that can be added over batches.

    Attributes:
      loss: the sum of cross-entropies.
      top1: (classes,) how many examples of each class were right.
      top5: (classes,) how many had the class among the five most probable.
      count: (classes,) how many there were.
    """

    loss: Any
    top1: Any
    top5: Any
    count: Any

    def plus(self, other: "Scores") -> "Scores":
        """The scores over both sets."""
        return Scores(*(a + b for a, b in zip(self, other, strict=True)))

    def summary(self) -> dict[str, float]:
        """Mean loss, top-1, top-5, and `per_class`, the mean of the classes' own top-1."""
        loss, top1, top5, count = (np.asarray(sums) for sums in self)
        present = count > 0
        return {
            "loss": float(loss / count.sum()),
            "top1": float(top1.sum() / count.sum()),
            "top5": float(top5.sum() / count.sum()),
            "per_class": float((top1[present] / count[present]).mean()),
        }


def accuracies_text(summary: dict[str, float], classes: int) -> str:
    """Accuracies in words; without top-5 where five guesses are always enough.

    Args:
      summary: `top1`, `top5` and `per_class`, fractions.
      classes: how many classes there are.
    """
    top5 = f", top-5 {summary['top5']:.2%}" if classes > 5 else ""
    return f"top-1 {summary['top1']:.2%}{top5}, per class {summary['per_class']:.2%}"


def score(log_probabilities: Array, labels: Array) -> Scores:
    """Scores a batch of predictions.

    Args:
      log_probabilities: (N, classes) float32.
      labels: (N,) int; rows of label -1 are not counted.

    Returns:
      Sums over the batch. Of equally probable classes the first counts as the more probable.
    """
    classes = log_probabilities.shape[-1]
    counted = labels >= 0
    right = jnp.where(counted, labels, 0)
    best = jax.lax.top_k(log_probabilities, min(5, classes))[1]
    hits = (best == right[:, None]) & counted[:, None]
    by_class = jax.nn.one_hot(right, classes, dtype=jnp.int32)
    of_right = jnp.take_along_axis(log_probabilities, right[:, None], axis=-1)[:, 0]
    return Scores(
        loss=-jnp.sum(jnp.where(counted, of_right, 0)),
        top1=hits[:, 0].astype(jnp.int32) @ by_class,
        top5=hits.any(axis=-1).astype(jnp.int32) @ by_class,
        count=counted.astype(jnp.int32) @ by_class,
    )


class MetricsLog:
    """Writes metrics.jsonl and TensorBoard events; after a resume each step is there once."""

    def __init__(self, run: Path, step: int, active: bool = True) -> None:
        """Opens the record of a run that stands at `step`, and removes the lines of later steps.

        Args:
          run: its folder.
          step: how many updates there have been.
          active: whether to write at all; of several processes only one does.
        """
        self._active = active
        if not active:
            return
        from tensorboardX import SummaryWriter  # half a second, for training alone

        path = run / FILE
        lines = [line for line in read(run) if line["step"] <= step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._written = {(line["split"], line["step"]) for line in lines}
        self._file = path.open("a")

        self._board = SummaryWriter(str(run), purge_step=step + 1)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._file.close()
            self._board.close()

    def write(self, split: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """Adds a line for "train" or "val", unless this step has one from before a resume."""
        if not self._active or (split, step) in self._written:
            return
        self._written.add((split, step))
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **values}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}", value, step)


def read(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl that are whole.

    A damaged line is named on stderr and left out. A last line without its end is left out
    silently, since a killed process leaves one.
    """
    path = run / FILE
    lines: list[dict[str, Any]] = []
    rows = path.read_text("utf-8", "replace").splitlines(keepends=True) if path.exists() else []
    for number, row in enumerate(rows, 1):
        line = _parse(row)
        if line is not None:
            lines.append(line)
        elif number < len(rows) or row.endswith("\n"):
            print(
                f"warning: {path}, line {number}: expected JSON with step, epoch, split and the "
                "metrics; left out",
                file=sys.stderr,
            )
    return lines


def _parse(row: str) -> dict[str, Any] | None:
    """One line of metrics.jsonl; None where it is not what `MetricsLog` writes."""
    try:
        line = json.loads(row)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or line.get("split") not in ("train", "val"):
        return None
    names = ("step", "epoch", *_VALUES[line["split"]])
    numbers = all(
        type(line.get(name)) in (int, float) and math.isfinite(line[name]) for name in names
    )
    return line if numbers and type(line["step"]) is int else None
