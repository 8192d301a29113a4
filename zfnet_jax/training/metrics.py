"""Accuracies, and the record of a run: metrics.jsonl and TensorBoard."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from zfnet_jax.config import LoopConfig
from zfnet_jax.core.files import write_text

FILE = "metrics.jsonl"


class Scores(NamedTuple):
    """What a set of predictions amounts to, as sums that add up over batches.

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
        return Scores(*(mine + its for mine, its in zip(self, other, strict=True)))

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
    chosen = jnp.take_along_axis(log_probabilities, right[:, None], axis=-1)[:, 0]
    return Scores(
        loss=-jnp.sum(jnp.where(counted, chosen, 0)),
        top1=hits[:, 0].astype(jnp.int32) @ by_class,
        top5=hits.any(axis=-1).astype(jnp.int32) @ by_class,
        count=counted.astype(jnp.int32) @ by_class,
    )


class MetricsLog:
    """Writes metrics.jsonl and TensorBoard events; after a resume each step is there once."""

    def __init__(self, run: Path, step: int, active: bool = True) -> None:
        """Opens the record of a run that stands at `step`: what is later is taken out.

        Args:
          run: its folder.
          step: the updates there have been.
          active: whether to write at all; of several processes only one does.
        """
        self._active = active
        if not active:
            return
        path = run / FILE
        lines = [line for line in read(run) if line["step"] <= step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._written = {(line["split"], line["step"]) for line in lines}
        self._file = path.open("a")
        from tensorboardX import SummaryWriter  # slow to import

        self._board = SummaryWriter(str(run), purge_step=step + 1)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._file.close()
            self._board.close()

    def write(self, split: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """Adds one line, for "train" or "val", unless there is one: a finished run ends again."""
        if not self._active or (split, step) in self._written:
            return
        self._written.add((split, step))
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **values}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}", value, step)


class Meter:
    """Averages the metrics of training steps into lines of the log.

    A step's metrics are looked at when the next step is under way, so that looking never keeps the
    device waiting.
    """

    def __init__(self, log: MetricsLog, bar: Any, loop: LoopConfig, epoch_steps: int) -> None:
        self._log, self._bar, self._loop, self._epoch_steps = log, bar, loop, epoch_steps
        self._pending: tuple[int, dict[str, Array]] | None = None
        self._window: list[dict[str, float]] = []
        self._since = time.perf_counter()
        self.speed = 0.0

    def add(self, step: int, values: dict[str, Array]) -> None:
        """Takes the metrics of a step that may still be computing."""
        self._settle()
        self._pending = (step, values)

    def flush(self) -> None:
        """Waits for the newest step, and writes the line that it belongs to."""
        step = self._settle()
        if step is not None and self._window:
            self._write(step)

    def restart_clock(self) -> None:
        """Leaves out of the speed what came since the last line: validation, checkpoints."""
        self._since = time.perf_counter()

    def _settle(self) -> int | None:
        if self._pending is None:
            return None
        step, values = self._pending
        self._pending = None
        seen = {name: float(value) for name, value in values.items()}
        if not seen.pop("finite"):
            raise ValueError(
                f"loss, gradients or parameters are not finite at step {step} (loss "
                f"{seen['loss']}): expected numbers; nothing of it was saved, another run with a "
                "lower optimizer.learning_rate may help"
            )
        self._window.append(seen)
        self._bar.set_postfix_str(
            f"loss {seen['loss']:.3f}, top-1 {seen['top1']:.0%}, {self.speed:.0f} images/s",
            refresh=False,
        )
        self._bar.update()
        if step % self._loop.log_steps == 0:
            self._write(step)
        return step

    def _write(self, step: int) -> None:
        now = time.perf_counter()
        self.speed = len(self._window) * self._loop.batch_size / (now - self._since)
        self._since = now
        means = {
            name: sum(values[name] for values in self._window) / len(self._window)
            for name in ("loss", "top1", "top5")
        }
        self._log.write(
            "train",
            step,
            step / self._epoch_steps,
            {
                **means,
                "learning_rate": self._window[-1]["learning_rate"],
                "images_per_second": round(self.speed, 2),
            },
        )
        self._window = []


def read(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a line that a kill cut short is left out."""
    path = run / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
