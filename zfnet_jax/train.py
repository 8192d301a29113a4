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
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.sharding import Mesh
from tqdm import tqdm

from zfnet_jax import checkpoint, cli, metrics, optimizer, parallel
from zfnet_jax import config as configs
from zfnet_jax.architecture import Architecture, Conv
from zfnet_jax.checkpoint import Checkpoints, Progress
from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.data import open_splits
from zfnet_jax.data.pipeline import Frames, all_batches, steps_per_epoch, train_batches
from zfnet_jax.data.preprocessing import (
    PixelSums,
    Preprocessing,
    frame_size,
    pixel_sums,
)
from zfnet_jax.evaluate import evaluate, predictor
from zfnet_jax.files import output_folder
from zfnet_jax.memory import keep_freed_memory
from zfnet_jax.metrics import Meter, MetricsLog
from zfnet_jax.model import ZFNet
from zfnet_jax.net import Net
from zfnet_jax.report import pictures, plots
from zfnet_jax.run_folder import claim, keep_snapshot, report_skipped
from zfnet_jax.step import (
    TrainState,
    benchmark_step,
    compile_step,
    init_state,
    make_train_step,
)
from zfnet_jax.trace import Params

__all__ = ["TrainState", "benchmark_step", "fit", "main", "make_train_step"]


def learn_preprocessing(
    frames: Frames, config: TrainConfig, rows: slice
) -> tuple[Preprocessing, float]:
    """The per-pixel mean of the training set (section 3), and the deviation of pixels around it.

    Sums are exact integers, so that neither order nor the number of processes changes a bit.
    """
    items = np.arange(len(frames))
    if config.data.mean_images:
        items = np.random.default_rng(config.seed).permutation(items)[: config.data.mean_images]
    batches = all_batches(
        frames,
        batch_size=config.train.batch_size,
        items=items,
        threads=config.data.threads,
        rows=rows,
    )
    bar = tqdm(batches, "mean of the training set", disable=None, leave=False, unit="batch")
    sums = pixel_sums((batch.frames[batch.labels >= 0] for batch in bar), frames.size)
    total = PixelSums(*parallel.sum_over_processes(sums))
    return Preprocessing(frames.size, total.mean()), total.deviation()


class Setting(NamedTuple):
    """What a run computes with, all but its state.

    Attributes:
      train: the training frames.
      val: the validation frames.
      mesh: the devices.
      rows: which rows of each batch this process reads.
      model: the network, in the type that training computes in.
      tx: the optimiser.
      preprocessing: what takes frames to network space.
      epoch_steps: steps in an epoch.
      last_step: the step that the run ends at.
    """

    train: Frames
    val: Frames
    mesh: Mesh
    rows: slice
    model: ZFNet
    tx: optax.GradientTransformation
    preprocessing: Preprocessing
    epoch_steps: int
    last_step: int


def set_up(config: TrainConfig, run: Path) -> tuple[Setting, TrainState]:
    """Opens the data, and makes the state a run starts or goes on with."""
    splits = open_splits(config.data, config.seed)
    mesh, rows = parallel.make_mesh(), parallel.rows_of_this_process(config.train.batch_size)
    train, val = (
        Frames.of(source, frame_size(config.architecture.input_size), config.data.cache_gib)
        for source in (splits.train, splits.val)
    )
    epoch_steps = steps_per_epoch(len(train), config.train.batch_size)
    total_steps = config.train.epochs * epoch_steps
    # Only now, so that a configuration that cannot be run leaves no folder that insists on it.
    begun, first = bool(checkpoint.steps(run)), parallel.is_first_process()
    claim(run, config, splits, begun=begun, write=first)
    report_skipped(run, splits.skipped if first else ())

    earlier = checkpoint.load_progress(run)
    if earlier:
        preprocessing, deviation = earlier.net.preprocessing, 1.0  # the weights are drawn already
    else:
        preprocessing, deviation = learn_preprocessing(train, config, rows)
    model = ZFNet(
        config.architecture,
        len(splits.train.class_names),
        dtype=parallel.compute_dtype(config.dtype),
        initializer=config.init,
        input_deviation=deviation,
    )
    tx = optimizer.make_optimizer(config.optimizer, config.architecture, total_steps)
    state = init_state(model, tx, config.seed)
    if earlier:
        opt_state = jax.tree.structure(state.opt_state).unflatten(earlier.optimizer)
        state = TrainState(jnp.int32(earlier.net.step), earlier.net.params, opt_state)
    last_step = min(total_steps, config.train.max_steps or total_steps)
    setting = Setting(train, val, mesh, rows, model, tx, preprocessing, epoch_steps, last_step)
    return setting, parallel.replicate(mesh, state)


def fit(config: TrainConfig, run: Path) -> int | None:
    """Trains to the configured end, from the start or from where the run in the folder stopped.

    Args:
      config: the run.
      run: its folder, which may hold an earlier part of the same run.

    Returns:
      The signal that stopped it early, after all was saved; None at the end.

    Raises:
      ValueError: the data cannot be used, the folder is another run's, every checkpoint is
        damaged, or loss or gradients are not finite.
      OSError: a file could not be written; the last checkpoint stays good.
    """
    setting, state = set_up(config, run)
    _, val, mesh, rows, model, tx, preprocessing, epoch_steps, last_step = setting
    class_names = val.source.class_names
    train_step = compile_step(
        make_train_step(model, tx, preprocessing, config.data.crops, config.seed), mesh
    )
    predict = predictor(model, preprocessing, mesh)
    step = int(state.step)
    batches = train_batches(
        setting.train,
        batch_size=config.train.batch_size,
        seed=config.seed,
        first_step=step,
        balanced=config.data.balanced,
        threads=config.data.threads,
        rows=rows,
    )
    with (
        parallel.StopRequest() as stop,
        Checkpoints(run, config.train.keep) as checkpoints,
        MetricsLog(run, step, active=parallel.is_first_process()) as log,
        tqdm(total=last_step, initial=step, disable=None, unit="step") as bar,
    ):
        meter = Meter(log, bar, config.train, epoch_steps)
        validated_epochs = int(optimizer.rate_state(state.opt_state).epochs)
        saved_step = step if checkpoint.steps(run) else None

        def save(validated: dict[str, float] | None = None) -> int:
            meter.flush()
            net = Net(config, state.params, preprocessing, class_names, step)
            epoch, rest = divmod(step, epoch_steps)
            kept = epoch in config.train.snapshot_epochs or step == last_step
            if validated and not rest and kept and parallel.is_first_process():
                keep_snapshot(run, net, epoch)
            checkpoints.save(Progress(net, jax.tree.leaves(state.opt_state)), validated)
            meter.restart_clock()
            return step

        # A finished run has nothing left to do, and its last checkpoint is not to be touched.
        while not stop.noted() and not (step >= last_step and checkpoints.is_validated(step)):
            # Also right after a resume: a stop may come between an epoch's end and this.
            if step >= last_step or validated_epochs < step // epoch_steps:
                meter.flush()
                scores = evaluate(
                    [(predict, state.params)],
                    [val],
                    mesh,
                    config.train.batch_size,
                    threads=config.data.threads,
                    stopped=stop.noted,
                )
                if scores is None:
                    break
                summary = scores[0].summary()
                rate = float(optimizer.rate_state(state.opt_state).rate)
                shown = {"learning_rate": rate, "images_per_second": round(meter.speed, 2)}
                log.write("val", step, step / epoch_steps, summary | shown)
                bar.write(_epoch_line(step, epoch_steps, config.train.epochs, summary, meter.speed))
                # The error of a part of an epoch is no epoch's, and must not lower the rate.
                if validated_epochs < step // epoch_steps:
                    error = 1 - summary["top1"]
                    observed = optimizer.observe(state.opt_state, error, config.optimizer)
                    state = parallel.replicate(mesh, state._replace(opt_state=observed))
                    validated_epochs += 1
                saved_step = save(summary)
                continue
            state, values = train_step(state, parallel.to_devices(mesh, next(batches)))
            step += 1
            meter.add(step, values)
            stop.agreed(step)
            every = config.train.checkpoint_steps
            if every and step % every == 0 and step % epoch_steps and step < last_step:
                saved_step = save()
        if saved_step != step:
            save()
        best = checkpoints.best()
    if not stop.noted() and parallel.is_first_process():
        _draw(run, config.architecture, state.params)
        print(f"best validation per class: step {best} in {run / checkpoint.FOLDER}")
    return stop.signal


def _draw(run: Path, arch: Architecture, params: Params) -> None:
    """Leaves the run's curves and first-layer filters in its folder."""
    first = next(layer.name for layer in arch if isinstance(layer, Conv))
    filters = pictures.filter_sheet(np.asarray(params[first]["kernel"]))
    with output_folder(run) as folder:
        plots.training_curves(metrics.read(run), folder / "curves.png")
        pictures.save(folder / "filters.png", filters)


def _epoch_line(
    step: int, epoch_steps: int, epochs: int, summary: dict[str, float], speed: float
) -> str:
    return (
        f"epoch {step / epoch_steps:.4g} of {epochs}, step {step}: validation "
        f"loss {summary['loss']:.3f}, top-1 {summary['top1']:.2%}, top-5 {summary['top5']:.2%}, "
        f"per class {summary['per_class']:.2%}; {speed:.0f} images/s"
    )


def main(args: Sequence[str] | None = None) -> None:
    """The command line: `python -m zfnet_jax.train`."""
    keep_freed_memory()
    with cli.one_line_errors():
        command, config = _parse(args)
        parallel.start(command.coordinator, command.processes, command.process)
        run = command.workdir or Path("runs") / config.name
        signal = fit(config, run)
        if signal:
            print(f"stopped and saved; the same command goes on from {run}")
            raise SystemExit(128 + signal)
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

        Example: python -m zfnet_jax.train --config configs/caltech101.py --workdir runs/caltech101
        """
        return command, config

    return cli.parse(bind, words)


DEFAULT = TrainConfig(
    init="he",
    optimizer=OptimizerConfig(
        learning_rate=0.015, schedule="cosine", warmup_steps=50, first_layer_rate=0.005
    ),
    train=LoopConfig(epochs=7, batch_size=32),
)
"""The main job: the embedded data set on a CPU in about three minutes."""


if __name__ == "__main__":
    main()
