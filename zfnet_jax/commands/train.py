"""Train a net by the paper's recipe (Zeiler & Fergus 2014, section 3), or continue a run.

A run is a pure function of its configuration: the seed and the number of a step decide which
pictures the step sees and how they are cropped, and the step updates one pytree. So a run that was
stopped anywhere and continued from its newest checkpoint ends with the same bits.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from zfnet_jax import config as configs
from zfnet_jax.commands import command_line, optional_values
from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.core import signals
from zfnet_jax.core.memory import keep_freed_memory

DEFAULT = TrainConfig(
    init="he",
    optimizer=OptimizerConfig(
        learning_rate=0.015, schedule="cosine", warmup_steps=50, first_layer_rate=0.005
    ),
    train=LoopConfig(epochs=7, batch_size=32),
)
"""The main job: the embedded data set on a CPU in about three minutes."""


# Without "(default: None)": the text says what is done without the option.
_arg = partial(tyro.conf.arg, help_behavior_hint="")


@dataclass(frozen=True)
class Command:
    """What the command line says beside the configuration.

    Attributes:
      config: a configuration that comes with the package, such as folder or caltech101, or a Python
        file with get_config() -> TrainConfig; the other options change its values. Without it the
        embedded data set is trained on.
      workdir: the run's folder, by default runs/NAME; the same command continues a run.
      coordinator: HOST:PORT of the first of several processes, or "auto" on a cluster.
      processes: how many processes there are.
      process: which of them this is, from 0.
    """

    config: Annotated[str | None, _arg(metavar="NAME|PATH")] = None
    workdir: Annotated[Path | None, _arg()] = None
    coordinator: Annotated[str | None, _arg(metavar="HOST:PORT")] = None
    processes: Annotated[int | None, _arg()] = None
    process: Annotated[int | None, _arg()] = None


def run(args: Sequence[str] | None = None) -> None:
    """The command line of `zfnet-jax train`.

    Args:
      args: the command line without the program's name; None takes the process's own.

    Raises:
      SystemExit: with code 2 after an error in one line, where the options, the data or the run's
        folder cannot be used; 128 and the signal's number after a signal, once all is saved.
    """
    keep_freed_memory()
    with signals.watched(), command_line.one_line_errors():
        signals.check()
        _train(*_parse(args))
        signals.check()


def _parse(args: Sequence[str] | None) -> tuple[Command, TrainConfig]:
    words = list(sys.argv[1:] if args is None else args)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", nargs="?")  # tyro says what is missing
    name = finder.parse_known_args(words)[0].config
    default = configs.load(name) if name else DEFAULT

    def bind(
        command: Annotated[Command, tyro.conf.arg(name="")],
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = default,
    ) -> tuple[Command, TrainConfig]:
        """Train a net, or continue a run.

        Example: zfnet-jax train --config caltech101 --workdir runs/caltech101
        """
        return command, config

    return command_line.parse(
        bind, words, prog="zfnet-jax train", registry=optional_values.REGISTRY
    )


def _train(command: Command, config: TrainConfig) -> None:
    # Imported here, so that --help does not wait for JAX, Orbax and Grain.
    from zfnet_jax.core import devices
    from zfnet_jax.report.training_run import draw_training_run
    from zfnet_jax.training.run import fit
    from zfnet_jax.training.run_folder import locked

    devices.start(command.coordinator, command.processes, command.process)
    run = command.workdir or Path("runs") / config.name
    with command_line.resumable(run), locked(run):
        fit(config, run)
        if devices.is_first_process():
            draw_training_run(run)
    print(f"look inside it: zfnet-jax deconv --ckpt {run}")
