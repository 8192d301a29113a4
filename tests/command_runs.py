"""The commands as a user runs them: other processes in another folder, on a tiny net and data."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from conftest import ROOT

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.source import Source
from zfnet_jax.data.splits import open_splits
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint
from zfnet_jax.zfnet.architecture import Architecture, Conv, Dense, MaxPool
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Trace

PICTURES, VAL, BATCH = 48, 12, 8
EPOCHS, EPOCH_STEPS = 6, 4
STEPS = EPOCHS * EPOCH_STEPS
TRAIN = ("-m", "zfnet_jax.train")

Result = subprocess.CompletedProcess[str]

CONFIG = """
from zfnet_jax.zfnet.architecture import ZFNET_SMALL
from zfnet_jax.config import DataConfig, LoopConfig, OptimizerConfig, TrainConfig

WIDTHS = {f"conv{n}": 8 for n in range(1, 6)} | {"fc6": 16, "fc7": 16}


def get_config():
    return TrainConfig(
        name="tiny",
        architecture=ZFNET_SMALL.with_features(**WIDTHS).at(32),
        init="he",
        data=DataConfig(source="folder:%s", val_fraction=0.25, crops="random", threads=2),
        optimizer=OptimizerConfig(
            learning_rate=0.05, factor=0.5, patience=1, warmup_steps=3, first_layer_rate=0.002
        ),
        train=LoopConfig(epochs=6, batch_size=8, checkpoint_steps=3, keep=3, log_steps=1),
    )
"""

TWO_LAYERS = Architecture(
    "two_layers",
    (
        Conv("conv1", features=4, size=3, stride=2),
        MaxPool("pool1"),
        Dense("fc2", features=None, relu=False, dropout=0.0),
    ),
    input_size=16,
)
"""The net that compiles most quickly, where nothing depends on the layers."""

# Audit events are the exact moments: "os.rename" of one folder, "open" of one file.
_STOPPED = """
import os, sys
from zfnet_jax.commands import train
from zfnet_jax.core import devices

number, moment, text, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
seen = 0

def stop():
    os.kill(os.getpid(), number)

def after(events):
    left = events

    def note(event, args):
        nonlocal left
        left -= 1
        if left == 0:
            stop()

    sys.addaudithook(note)

def note():
    global seen
    seen += 1
    if seen == count:
        after(int(text)) if text else stop()

if moment == "batch":
    to_devices = devices.to_devices

    def noted(*args):
        note()
        return to_devices(*args)

    devices.to_devices = noted
else:
    sys.addaudithook(
        lambda event, args: stop() if event == moment and text in str(args[0]) else None
    )
train.run(sys.argv[5:])
"""

_FULL_DISK = """
import resource, sys
from zfnet_jax.commands import train

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
train.run(sys.argv[2:])
"""


class Zfnet:
    """Runs the commands; warnings are errors."""

    def __init__(self, place: Path, config: Path) -> None:
        self.place, self.config = place, config
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}

    def start(self, *args: Any, **environment: str) -> subprocess.Popen[str]:
        """Starts Python with these arguments."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", *map(str, args)],
            cwd=self.place,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: Any, **environment: str) -> Result:
        """Runs Python with these arguments to its end."""
        with self.start(*args, **environment) as process:
            try:
                out, err = process.communicate(timeout=300)
            finally:
                process.kill()
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def train(self, run: Path, *options: Any, **environment: str) -> Result:
        """Trains the tiny net in a run's folder."""
        return self.run(*TRAIN, *self.options(run), *options, **environment)

    def train_stopped(
        self, run: Path, number: int, moment: str, text: str = "", count: int = 0
    ) -> Result:
        """Trains, and sends itself a signal.

        Args:
          run: the folder.
          number: the signal.
          moment: "batch", at the batch `count` (from 1) that goes to the devices, in training or
            validation, or `text` audit events after it; or the name of an audit event.
          text: of an audit event: what its first argument contains.
          count: which batch.
        """
        return self.run("-c", _STOPPED, number, moment, text, count, *self.options(run))

    def train_on_full_disk(self, run: Path, size: int, *options: Any) -> Result:
        """Trains where no file can be larger than `size` bytes."""
        return self.run("-c", _FULL_DISK, size, *self.options(run), *options)

    def options(self, run: Path) -> tuple[Any, ...]:
        """The options of every training command."""
        return "--config", self.config, "--workdir", run


class Finished(NamedTuple):
    """A run that was never stopped, with a checkpoint of every step."""

    run: Path
    result: Result


def lines_of(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_speed(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, less what depends on the machine's mood."""
    return [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in lines_of(run)
    ]


def each_step_once(run: Path) -> bool:
    """Whether no step of a split is there twice."""
    steps = [(line["split"], line["step"]) for line in lines_of(run)]
    return len(steps) == len(set(steps))


def bits_of(run: Path) -> dict[str, bytes]:
    """Parameters, mean and optimiser state of a run's newest checkpoint, as bytes."""
    progress = checkpoint.load_progress(run)
    assert progress is not None
    tree = {
        "step": np.int64(progress.net.step),
        "params": progress.net.params,
        "mean": progress.net.preprocessing.mean,
        "optimizer": list(progress.optimizer),
    }
    return {
        jax.tree_util.keystr(where): np.asarray(leaf).tobytes()
        for where, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@contextlib.contextmanager
def coordinator_address() -> Iterator[str]:
    """HOST:PORT for the first of several processes, which nobody else is given meanwhile.

    The port stays bound here, with the option by which JAX's coordinator may bind it as well.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


def one_line(result: Result) -> str:
    """The message of a command that a user's error ended, which is one line on stderr alone."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    return result.stderr


def files_below(folder: Path) -> set[Path]:
    """All files and folders below a folder."""
    return set(folder.rglob("*"))


def trace_of(net: Net, source: Source) -> Trace:
    """What a net makes of the centre views of all pictures of a data set."""
    frames = ImageSet.of(source, net.preprocessing.frame, cache_gib=0)
    raw = frames.batch(np.arange(len(source))).frames
    images = centre_view(np.asarray(net.preprocessing.apply(raw)), net.architecture.input_size)
    model = ZFNet(net.architecture, len(net.class_names))
    _, trace = model.apply({"params": net.params}, images)
    return trace


def with_lists(config: TrainConfig, folder: Path) -> TrainConfig:
    """The configuration with the split of its folder by seed 0 as lists, written to another."""
    splits, lists = open_splits(config.data, 0), {}
    for name, source in (("train_list", splits.train), ("val_list", splits.val)):
        path = folder / name
        path.write_text("".join(f"{picture}\n" for picture in source.names))  # pyright: ignore
        lists[name] = str(path)
    return replace(config, data=replace(config.data, **lists))
