"""What a training run computes with, made from its configuration, its data and its folder."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from zfnet_jax.config import TrainConfig
from zfnet_jax.core import devices
from zfnet_jax.data.learned_preprocessing import learn_preprocessing
from zfnet_jax.data.pipeline import ImageSet, steps_per_epoch
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.data.source import Source
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint, optimizer, small_data
from zfnet_jax.training.checkpoint import Progress
from zfnet_jax.training.fine_tuning import Start, start_from
from zfnet_jax.training.run_folder import expect_same_run, report_skipped, write_description
from zfnet_jax.training.step import TrainState, init_state
from zfnet_jax.zfnet.model import ZFNet


class RunSetup(NamedTuple):
    """What a run computes with, all but its state.

    Attributes:
      config: the configuration, with the batch size and the warm-up fitted to the data.
      train: the training images.
      val: the validation images.
      mesh: the devices.
      rows: which rows of each batch this process reads.
      model: the network, in the type that training computes in.
      tx: the optimiser.
      preprocessing: what takes frames to network space.
      epoch_steps: steps in an epoch.
      last_step: the step that the run ends at.
    """

    config: TrainConfig
    train: ImageSet
    val: ImageSet
    mesh: Mesh
    rows: slice
    model: ZFNet
    tx: optax.GradientTransformation
    preprocessing: Preprocessing
    epoch_steps: int
    last_step: int


def set_up(
    config: TrainConfig, run: Path, others: Sequence[RunSetup] = ()
) -> tuple[RunSetup, TrainState]:
    """Opens the data, and makes the state that a run starts or continues with.

    Args:
      config: the configuration of the run.
      run: its folder, which this process has locked.
      others: runs that differ from it in their seed alone; it shares their images in memory where
        they are of the same pictures.

    Raises:
      ValueError: the data or `init_from` cannot be used, the folder is another run's, or every
        checkpoint is damaged.
    """
    splits = open_splits(config.data, config.seed)
    class_names = splits.train.class_names
    config = _fitted(config, len(splits.train))
    mesh, rows = devices.make_mesh(), devices.rows_of_this_process(config.train.batch_size)
    epoch_steps = steps_per_epoch(len(splits.train), config.train.batch_size)
    begun, first = bool(checkpoint.steps(run)), devices.is_first_process()
    start = None if begun else _start(config, class_names)
    # Only now, so that a configuration that cannot be run leaves no folder that insists on it.
    if begun:  # a run that left nothing binds nobody
        expect_same_run(run, config, splits)
    if first:
        write_description(run, config, splits)
    report_skipped(run, splits.skipped if first else ())
    if start and first:
        print(start.text, flush=True)

    earlier = checkpoint.load_progress(run)
    preprocessing = earlier.net.preprocessing if earlier else start and start.preprocessing
    frame = preprocessing.frame if preprocessing else frame_size(config.architecture.input_size)
    train = _image_set(splits.train, frame, config, [other.train for other in others])
    val = _image_set(splits.val, frame, config, [other.val for other in others])
    # What "he" draws the first layer by, which a run with a preprocessing has already.
    standard_deviation = 1.0
    if preprocessing is None:
        preprocessing, standard_deviation = _learned(train, config, rows)
    model = ZFNet(
        config.architecture,
        len(class_names),
        dtype=devices.compute_dtype(config.dtype),
        initializer=config.init,
        input_standard_deviation=standard_deviation,
    )
    total_steps = config.train.epochs * epoch_steps
    tx = optimizer.make_optimizer(config.optimizer, config.architecture, total_steps)
    state = _state(init_state(model, tx, config.seed), earlier, start)
    last_step = min(total_steps, config.train.max_steps or total_steps)
    setup = RunSetup(
        config, train, val, mesh, rows, model, tx, preprocessing, epoch_steps, last_step
    )
    return setup, devices.replicate(mesh, state)


def _fitted(config: TrainConfig, images: int) -> TrainConfig:
    """The configuration fitted to the size of the data, after saying what that changed."""
    fitted = small_data.fit_to_data(config, images, jax.device_count())
    if devices.is_first_process():
        if changes := small_data.changes_text(config, fitted, images):
            print(changes, flush=True)
        if warning := small_data.warmup_warning(fitted, images):
            print(warning, file=sys.stderr)
    return fitted


def _start(config: TrainConfig, class_names: Sequence[str]) -> Start | None:
    """What the run takes from the net that `init_from` names; None where it names none."""
    if config.init_from is None:
        return None
    net = checkpoint.load(config.init_from)
    return start_from(net, config.init_from, config.architecture, class_names)


def _learned(train: ImageSet, config: TrainConfig, rows: slice) -> tuple[Preprocessing, float]:
    return learn_preprocessing(
        train,
        batch_size=config.train.batch_size,
        mean_images=config.data.mean_images,
        seed=config.seed,
        threads=config.data.threads,
        rows=rows,
    )


def _state(initial: TrainState, earlier: Progress | None, start: Start | None) -> TrainState:
    """The state of a checkpoint; without one the initial state, with the layers of another net."""
    if earlier:
        opt_state = jax.tree.structure(initial.opt_state).unflatten(earlier.optimizer)
        return TrainState(jnp.int32(earlier.net.step), earlier.net.params, opt_state)
    if start:
        return initial._replace(params={**initial.params, **start.params})
    return initial


def _image_set(
    source: Source, frame: int, config: TrainConfig, others: Sequence[ImageSet]
) -> ImageSet:
    """The images of a source, or those of another run where it has the same pictures."""
    for image_set in others:
        if image_set.size == frame and image_set.source.identity == source.identity:
            return image_set
    return ImageSet.of(source, frame, config.data.cache_gib)
