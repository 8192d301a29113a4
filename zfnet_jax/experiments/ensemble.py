"""Nets that differ in their seed alone, one after the other or in one program (Table 2).

Together, their parameters are stacked and one compiled step maps over the stack. Each net sees the
order, the crops, the dropout and the first weights that its own seed gives it alone, so that it
ends where it would have ended alone, but for rounding.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zfnet_jax.config import TrainConfig
from zfnet_jax.core import compilation, devices
from zfnet_jax.data.pipeline import Batch
from zfnet_jax.data.preprocessing import Crops, Preprocessing, frame_size
from zfnet_jax.data.splits import open_splits
from zfnet_jax.report.training_run import draw_training_run
from zfnet_jax.training import optimizer
from zfnet_jax.training.run import TrainingRun, fit, open_run, saved_when_stopped
from zfnet_jax.training.run_folder import locked
from zfnet_jax.training.step import TrainState, init_state, make_train_step
from zfnet_jax.zfnet.architecture import CHANNELS
from zfnet_jax.zfnet.model import ZFNet


def members(config: TrainConfig, count: int) -> list[TrainConfig]:
    """The runs of an ensemble: the configuration with its seed and the `count` - 1 after it.

    Raises:
      ValueError: the seed decides which pictures are held out, so that each net would have learned
        from pictures that another is validated on.
    """
    runs = [replace(config, seed=config.seed + number) for number in range(count)]
    first, *others = (open_splits(run.data, run.seed) for run in runs)
    learned = set(first.train.names)
    if any(learned & set(other.val.names) for other in others):
        raise ValueError(
            f"data {config.data.source}: the seed splits it, so that each net would be validated "
            "on pictures that another has seen; expected a data set with a split of its own, or "
            "data.train_list and data.val_list"
        )
    return runs


def fit_one_by_one(configs: Sequence[TrainConfig], runs: Sequence[Path]) -> None:
    """Trains nets one after the other, or goes on with them."""
    for config, run in zip(configs, runs, strict=True):
        with locked(run):
            fit(config, run)
            draw_training_run(run)


def fit_together(configs: Sequence[TrainConfig], runs: Sequence[Path]) -> None:
    """Trains nets in one program, or goes on with them from wherever each of them was stopped.

    Those that are furthest behind go together until they meet the next. Each is validated, saved
    and written about as if it were alone.

    Args:
      configs: runs that differ in their seed alone.
      runs: their folders.

    Raises:
      ValueError: as `training.run.fit`.
    """
    with ExitStack() as stack:
        training_runs: list[TrainingRun] = []
        for config, run in zip(configs, runs, strict=True):
            others = [training_run.setup for training_run in training_runs]
            training_runs.append(stack.enter_context(open_run(config, run, others)))
        while under_way := _under_way(training_runs):
            steps = sorted({training_run.step for training_run in under_way})
            behind = [training_run for training_run in under_way if training_run.step == steps[0]]
            _advance(behind, steps[1] if len(steps) > 1 else behind[0].setup.last_step)
        for training_run in training_runs:
            training_run.finish()
        for run in runs:
            draw_training_run(run)


def _under_way(runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    return [run for run in runs if run.step < run.setup.last_step or run.awaits_validation]


def _advance(runs: Sequence[TrainingRun], until: int) -> None:
    """Takes runs that stand at one step to another."""
    setup, config = runs[0].setup, runs[0].config
    mesh, whole = setup.mesh, devices.replicated(setup.mesh)
    step = stacked_step(setup.model, setup.tx, setup.preprocessing, config.data.crops, mesh)
    stack = jax.jit(_stack, out_shardings=whole)
    unstack = jax.jit(partial(_unstack, count=len(runs)), out_shardings=whole)
    seeds = jnp.array([run.config.seed for run in runs], jnp.int32)
    means = np.stack([run.setup.preprocessing.mean for run in runs])
    seeds, means = devices.replicate(mesh, (seeds, means))
    batches = zip(*(run.batches() for run in runs), strict=True)
    by_example = NamedSharding(mesh, PartitionSpec(None, "data"))
    states: TrainState | None = None  # None where each run has its own newest state

    def settle() -> None:
        nonlocal states
        if states is not None:
            for run, state in zip(runs, unstack(states), strict=True):
                run.state = state
        states = None

    def restart_clocks() -> None:
        for run in runs:
            run.restart_clock()

    restart_clocks()
    with saved_when_stopped(runs, settle):
        while runs[0].step < until or any(run.awaits_validation for run in runs):
            if any(run.awaits_validation for run in runs):
                settle()
                for run in runs:
                    if run.awaits_validation:
                        run.validate()
                restart_clocks()
                continue
            batch = Batch(*map(np.stack, zip(*next(batches), strict=True)))
            if states is None:
                states = stack([run.state for run in runs])
            states, values = step(states, jax.device_put(batch, by_example), seeds, means)
            for run, metrics in zip(runs, unstack(values), strict=True):
                run.note(metrics)
            devices.share_stop(runs[0].step)
            if runs[0].awaits_saving:
                settle()
                for run in runs:
                    run.save()
                restart_clocks()
        settle()
        for run in runs:
            run.save()


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(itemgetter(number), tree) for number in range(count)]


def stacked_step(
    model: ZFNet,
    tx: optax.GradientTransformation,
    preprocessing: Preprocessing,
    crops: Crops,
    mesh: Mesh,
) -> Any:
    """One update of several nets, as `make_train_step` makes one of one, compiled over a mesh.

    Args:
      model: the network.
      tx: the optimiser.
      preprocessing: of any of the nets; each brings a mean of its own.
      crops: how the network's crop is drawn from a frame.
      mesh: the devices; each net's batch is cut over all of them.

    Returns:
      A function (states, batches, seeds, means) -> (states, metrics), whose arrays are those of
      the single step led by an axis of nets; the states it is given are donated.
    """

    def step(state: TrainState, batch: Batch, seed: Array, mean: Any) -> Any:
        own = replace(preprocessing, mean=mean)
        return make_train_step(model, tx, own, crops, seed)(state, batch)

    whole = devices.replicated(mesh)
    by_example = NamedSharding(mesh, PartitionSpec(None, "data"))
    return compilation.jit(
        jax.vmap(step),
        donate_argnums=0,
        in_shardings=(whole, by_example, whole, whole),
        out_shardings=whole,
    )


def bytes_together(config: TrainConfig, num_classes: int, count: int) -> int:
    """The memory that several nets take together on each device.

    That is what the compiler says of a step, and twice their states: those that they had before the
    step, and those that are taken out of the stack.

    Args:
      config: the run of one of them.
      num_classes: of the data set.
      count: how many nets.
    """
    arch, frame = config.architecture, frame_size(config.architecture.input_size)
    model = ZFNet(arch, num_classes, dtype=devices.compute_dtype(config.dtype))
    tx = optimizer.make_optimizer(config.optimizer, arch, total_steps=1)
    mean = np.zeros((frame, frame, CHANNELS), np.float32)
    step = stacked_step(
        model, tx, Preprocessing(frame, mean), config.data.crops, devices.make_mesh()
    )
    rows = config.train.batch_size
    one = (
        jax.eval_shape(lambda: init_state(model, tx, seed=0)),
        Batch(np.zeros((rows, frame, frame, CHANNELS), np.uint8), np.zeros(rows, np.int32)),
        np.int32(0),
        mean,
    )
    several = jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), one)
    memory = step.lower(*several).compile().memory_analysis()
    states = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(several[0]))
    return (
        2 * states
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def goes_together(config: TrainConfig, num_classes: int, count: int) -> bool:
    """Whether several nets are better trained in one program: where it fits, but not on a CPU.

    A CPU is busy with one net, and slower over the grouped convolutions of several. It is the one
    device that does not say how much memory it has.
    """
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    return limit is not None and bytes_together(config, num_classes, count) <= limit
