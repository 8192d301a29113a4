"""Training by the paper's recipe (Zeiler & Fergus 2014, section 3), and its command line.

A run is a pure function of its configuration. Step k sees the pictures that the seed and k name,
augments them with a key folded from the seed and k, and updates one pytree. So a run that was
stopped anywhere and goes on from its newest checkpoint ends with the very same bits.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from zfnet_jax import config as configs
from zfnet_jax.commands import command_line
from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.core import devices, signals
from zfnet_jax.core.memory import keep_freed_memory
from zfnet_jax.report.training_run import draw_training_run
from zfnet_jax.training.run import fit
from zfnet_jax.training.run_folder import locked


def run(args: Sequence[str] | None = None) -> None:
    """The command line: `python -m zfnet_jax.train`."""
    keep_freed_memory()
    with signals.watched(), command_line.one_line_errors():
        command, config = _parse(args)
        devices.start(command.coordinator, command.processes, command.process)
        run = command.workdir or Path("runs") / config.name
        with command_line.resumable(run), locked(run):
            fit(config, run)
            if devices.is_first_process():
                draw_training_run(run)
        signals.check()
        print(f"look inside it: python tools/deconv.py --ckpt {run}")


@dataclass(frozen=True)
class Command:
    """What the command line says beside the configuration.

    Attributes:
      config: a file with get_config() -> TrainConfig, whose values the other options change;
        none trains the embedded data set.
      workdir: the run's folder; the same command goes on where it stopped.
      coordinator: HOST:PORT of the first of several processes, or "auto" on a cluster.
      processes: how many processes there are.
      process: which of them this is, from 0.
    """

    config: Path | None = None
    workdir: Path | None = None
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def _parse(args: Sequence[str] | None) -> tuple[Command, TrainConfig]:
    words = list(sys.argv[1:] if args is None else args)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", type=Path, nargs="?")  # tyro says what is missing
    found = finder.parse_known_args(words)[0].config
    default = configs.load(found) if found else DEFAULT

    def bind(
        command: Annotated[Command, tyro.conf.arg(name="")],
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = default,
    ) -> tuple[Command, TrainConfig]:
        """Train a net, or go on with a run.

        Example: zfnet-jax train --config configs/caltech101.py --workdir runs/caltech101
        """
        return command, config

    return command_line.parse(bind, words, prog="zfnet-jax train", config=(tyro.conf.DisallowNone,))


DEFAULT = TrainConfig(
    init="he",
    optimizer=OptimizerConfig(
        learning_rate=0.015, schedule="cosine", warmup_steps=50, first_layer_rate=0.005
    ),
    train=LoopConfig(epochs=7, batch_size=32),
)
"""The main job: the embedded data set on a CPU in about three minutes."""
