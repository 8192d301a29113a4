"""The folder of a run: whose it is, what it says of its data, and the nets it keeps for good."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from zfnet_jax import config as configs
from zfnet_jax.config import TrainConfig
from zfnet_jax.core import devices, identity
from zfnet_jax.core.files import read_json, remove_partial, write_json, write_text
from zfnet_jax.core.locks import locked_folder
from zfnet_jax.data.source import Skipped, Splits, warn_of_skipped
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net

CONFIG, DATA = "config.json", "data.json"
SKIPPED = "skipped.txt"
SNAPSHOTS = "snapshots"

# What may differ when a run goes on: how long and how fast, never what it computes.
_FREE = configs.KEYS_THAT_CHANGE_NO_NET | {"train.epochs", "train.max_steps"}


def expect_same_run(run: Path, config: TrainConfig, splits: Splits) -> None:
    """Raises ValueError where a folder holds a run of another configuration or of other data.

    Args:
      run: the folder.
      config: the run that is to go on in it.
      splits: its data set.

    Raises:
      ValueError: names the first key of the configuration that differs, or says how the data does.
    """
    if (run / CONFIG).exists():
        started = configs.from_json(read_json(run / CONFIG))
        for key, (then, now) in _differences(started, config).items():
            if key not in _FREE or (
                key == "train.epochs" and config.optimizer.schedule == "cosine"
            ):
                raise ValueError(
                    f"{key} = {now!r}: {run} was started with {then!r}; expected the same, or "
                    "another folder for the run"
                )
    if (run / DATA).exists():
        then, data = read_json(run / DATA), identify(splits)
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


def write_description(run: Path, config: TrainConfig, splits: Splits) -> None:
    """Writes what `expect_same_run` reads; OSError where the folder cannot be written."""
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / CONFIG, configs.to_json(config))
    write_json(run / DATA, identify(splits))


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
        lines = [f"{file.name}: {file.reason}\n" for file in skipped]
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
    return next((run for run in (ckpt, ckpt.parent.parent) if (run / CONFIG).is_file()), None)


def output_of(ckpt: Path, tool: str) -> Path:
    """Where a command writes without --out: in the run's folder, not in a step's, which may go."""
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
