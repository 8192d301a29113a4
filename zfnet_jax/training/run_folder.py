"""The folder of a run: whose it is, what it says of its data, and the nets it keeps for good."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from zfnet_jax import config as configs
from zfnet_jax.config import TrainConfig
from zfnet_jax.core import devices, identity
from zfnet_jax.core.files import read_json, remove_partial, write_text
from zfnet_jax.core.locks import locked_folder
from zfnet_jax.data.source import Skipped, Splits, warn_of_skipped
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net

CONFIG, DATA = "config.json", "data.json"
SKIPPED = "skipped.txt"
SNAPSHOTS = "snapshots"

# What may differ when a run goes on: how long and how fast, never what it computes.
_FREE = configs.KEYS_THAT_CHANGE_NO_NET | {"train.epochs", "train.max_steps"}


def claim(
    run: Path, config: TrainConfig, splits: Splits, *, begun: bool, write: bool = True
) -> None:
    """Makes the folder this run's, or checks that it is.

    Args:
      run: the folder.
      config: the run.
      splits: its data set.
      begun: whether there is something to go on from; a run that left nothing binds nobody.
      write: whether to write; of several processes only one does.

    Raises:
      ValueError: it holds a run of another configuration, of which the first key that differs is
        named, or of other data.
      OSError: it cannot be made.
    """
    path = run / CONFIG
    data = identify(splits)
    if begun and path.exists():
        started = configs.from_json(read_json(path))
        for key, (then, now) in _differences(started, config).items():
            if key not in _FREE or (
                key == "train.epochs" and config.optimizer.schedule == "cosine"
            ):
                raise ValueError(
                    f"{key} = {now!r}: {run} was started with {then!r}; expected the same, or "
                    "another folder for the run"
                )
    if begun and (run / DATA).exists():
        then = read_json(run / DATA)
        if any(then[key] != data[key] for key in data if key != "contents"):
            raise ValueError(
                f"data {config.data.source}: {run} was started with {_counts(then)}; expected the "
                f"same pictures, found {_counts(data)}, or others by name"
            )
        if then.get("contents", data["contents"]) != data["contents"]:  # older runs have none
            raise ValueError(
                f"data {config.data.source}: {run} was started with other pictures of the same "
                "names; expected the same pictures, or another folder for the run"
            )
    if write:
        run.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(configs.to_json(config), indent=1) + "\n")
        write_text(run / DATA, json.dumps(data, indent=1) + "\n")


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keeps other processes from training in a run's folder, and clears what killed ones left.

    Of several processes that train one net, the first holds the lock.

    Raises:
      ValueError: another process trains in it, or it is a file.
    """
    if not devices.is_first_process():
        yield
        return
    with locked_folder(run):
        remove_partial(run)
        remove_partial(run / SNAPSHOTS)
        yield


def report_skipped(run: Path, skipped: Sequence[Skipped]) -> None:
    """Says how many files of the data set are no readable pictures, and lists them."""
    if skipped:
        lines = [f"{each.name}: {each.reason}\n" for each in skipped]
        write_text(run / SKIPPED, "".join(lines))
        warn_of_skipped(skipped, f" of the data set (all in {run / SKIPPED})")


def keep_snapshot(run: Path, net: Net, epoch: int) -> None:
    """Keeps the net of the end of an epoch, apart from the checkpoints that come and go."""
    (run / SNAPSHOTS).mkdir(exist_ok=True)
    weights.write(net, run / SNAPSHOTS / f"epoch_{epoch:04}{weights.SUFFIX}", jnp.float32)


def snapshots(run: Path) -> dict[int, Path]:
    """The nets that a run has kept, by their epoch, ascending; each is a `--ckpt` of its own."""
    files = sorted((run / SNAPSHOTS).glob(f"epoch_*{weights.SUFFIX}"))
    return {int(file.stem.removeprefix("epoch_")): file for file in files}


def run_of(ckpt: Path) -> Path | None:
    """The folder of the run that a `--ckpt` is, or is a step or a snapshot of; None without one."""
    for place in (ckpt, ckpt.parent.parent):
        if (place / CONFIG).is_file():
            return place
    return None


def output_of(ckpt: Path, tool: str) -> Path:
    """Where a tool writes unless it is told: in the run's folder, not in a step's, which may go."""
    run = run_of(ckpt)
    if run is None:
        return Path(tool) / ckpt.stem
    return run / (tool if run == ckpt else f"{tool}-{ckpt.stem}")


def identify(splits: Splits) -> dict[str, Any]:
    """What a run depends on: how many pictures, of which classes, by which names, what is in them.

    Returns:
      JSON data; `sha256` is of the names of classes and pictures, `contents` of what is in them.
    """
    sources = splits.train, splits.val
    names = [list(source.names) for source in sources]
    return {
        "train": len(splits.train),
        "val": len(splits.val),
        "classes": len(splits.train.class_names),
        "sha256": identity.of_json([list(splits.train.class_names), *names]),
        "contents": identity.of_json([source.identity for source in sources]),
    }


def _counts(data: dict[str, Any]) -> str:
    return f"{data['train']} + {data['val']} pictures of {data['classes']} classes"


def _differences(then: TrainConfig, now: TrainConfig) -> dict[str, tuple[Any, Any]]:
    old, new = configs.flat(then), configs.flat(now)
    return {key: (old[key], new[key]) for key in old if old[key] != new[key]}
