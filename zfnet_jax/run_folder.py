"""The folder of a run: whose it is, and what it says of its data."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zfnet_jax import config as configs
from zfnet_jax.config import TrainConfig
from zfnet_jax.data import Skipped
from zfnet_jax.files import read_json, write_text

CONFIG = "config.json"
SKIPPED = "skipped.txt"

# What may differ when a run goes on: how long and how fast, never what it computes.
_FREE = {
    "train.epochs",
    "train.max_steps",
    "train.checkpoint_steps",
    "train.keep",
    "train.log_steps",
    "data.threads",
    "data.cache_gib",
}


def claim(run: Path, config: TrainConfig, write: bool = True) -> None:
    """Makes the folder this run's, or checks that it is.

    Args:
      run: the folder.
      config: the run.
      write: whether to write; of several processes only one does.

    Raises:
      ValueError: it holds a run of another configuration; the first key that differs is named.
      OSError: it cannot be made.
    """
    path = run / CONFIG
    if path.exists():
        started = configs.from_json(read_json(path))
        for key, (then, now) in _differences(started, config).items():
            if key not in _FREE or (
                key == "train.epochs" and config.optimizer.schedule == "cosine"
            ):
                raise ValueError(
                    f"{key} = {now!r}: {run} was started with {then!r}; expected the same, or "
                    "another --workdir"
                )
    if not write:
        return
    run.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(configs.to_json(config), indent=1) + "\n")


def report_skipped(run: Path, skipped: Sequence[Skipped]) -> None:
    """Says how many files of the data set are no readable pictures, and lists them."""
    if skipped:
        lines = [f"{each.name}: {each.reason}\n" for each in skipped]
        write_text(run / SKIPPED, "".join(lines))
        print(
            f"warning: skipped {len(skipped)} of the data set's files (all in {run / SKIPPED}), "
            f"the first {lines[0].strip()}",
            file=sys.stderr,
        )


def _differences(then: TrainConfig, now: TrainConfig) -> dict[str, tuple[Any, Any]]:
    return {
        key: (old, new)
        for (key, old), (_, new) in zip(_flat(then), _flat(now), strict=True)
        if old != new
    }


def _flat(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if each.name in ("data", "optimizer", "train"):
            pairs += _flat(value, f"{each.name}.")
        else:
            pairs.append((prefix + each.name, value))
    return pairs
