"""What a training run computes with, made from its configuration, its data and its folder."""

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
from zfnet_jax.data.source import Source, pictures_of
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint, optimizer
from zfnet_jax.training.run_folder import claim, report_skipped
from zfnet_jax.training.step import TrainState, init_state
from zfnet_jax.zfnet.model import ZFNet


class RunSetup(NamedTuple):
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
    """Opens the data, and makes the state a run starts or goes on with.

    Args:
      config: the run.
      run: its folder.
      others: of runs that differ from it in their seed alone, whose frames it shares where they
        are of the same pictures.
    """
    splits = open_splits(config.data, config.seed)
    mesh, rows = devices.make_mesh(), devices.rows_of_this_process(config.train.batch_size)
    train = _image_set(splits.train, config, [other.train for other in others])
    val = _image_set(splits.val, config, [other.val for other in others])
    epoch_steps = steps_per_epoch(len(train), config.train.batch_size)
    total_steps = config.train.epochs * epoch_steps
    # Only now, so that a configuration that cannot be run leaves no folder that insists on it.
    begun, first = bool(checkpoint.steps(run)), devices.is_first_process()
    claim(run, config, splits, begun=begun, write=first)
    report_skipped(run, splits.skipped if first else ())

    earlier = checkpoint.load_progress(run)
    if earlier:
        # The weights are drawn already, so that the spread of the pixels is not asked for.
        preprocessing, standard_deviation = earlier.net.preprocessing, 1.0
    else:
        preprocessing, standard_deviation = learn_preprocessing(
            train,
            batch_size=config.train.batch_size,
            mean_images=config.data.mean_images,
            seed=config.seed,
            threads=config.data.threads,
            rows=rows,
        )
    model = ZFNet(
        config.architecture,
        len(splits.train.class_names),
        dtype=devices.compute_dtype(config.dtype),
        initializer=config.init,
        input_standard_deviation=standard_deviation,
    )
    tx = optimizer.make_optimizer(config.optimizer, config.architecture, total_steps)
    state = init_state(model, tx, config.seed)
    if earlier:
        opt_state = jax.tree.structure(state.opt_state).unflatten(earlier.optimizer)
        state = TrainState(jnp.int32(earlier.net.step), earlier.net.params, opt_state)
    last_step = min(total_steps, config.train.max_steps or total_steps)
    setup = RunSetup(train, val, mesh, rows, model, tx, preprocessing, epoch_steps, last_step)
    return setup, devices.replicate(mesh, state)


def _image_set(source: Source, config: TrainConfig, others: Sequence[ImageSet]) -> ImageSet:
    """The frames of a source, those of another run if it has the same pictures."""
    pictures = pictures_of(source)
    if pictures is not None:
        for frames in others:
            if pictures_of(frames.source) == pictures:
                return frames
    return ImageSet.of(source, frame_size(config.architecture.input_size), config.data.cache_gib)
