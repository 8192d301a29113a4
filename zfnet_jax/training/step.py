"""One training step: a pure function of a state and a batch, compiled over a mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from zfnet_jax.config import OptimizerConfig
from zfnet_jax.core import compilation, devices
from zfnet_jax.data.pipeline import Batch
from zfnet_jax.data.preprocessing import Crops, Preprocessing, frame_size, random_view
from zfnet_jax.training import optimizer
from zfnet_jax.zfnet.architecture import CHANNELS, Architecture
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Params

TrainStep = Callable[["TrainState", Batch], tuple["TrainState", dict[str, Array]]]


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
      step: how many updates there have been, int32.
      params: the network's parameters, float32.
      opt_state: the optimiser's state.
    """

    step: Array
    params: Params
    opt_state: Any


def make_train_step(
    model: ZFNet,
    tx: optax.GradientTransformation,
    preprocessing: Preprocessing,
    crops: Crops,
    seed: int | Array,
) -> TrainStep:
    """One update: augment, forward, backward, update, cap.

    Args:
      model: the network; its dtype is the type of the computation.
      tx: the optimiser.
      preprocessing: what takes frames to network space.
      crops: how the network's crop is drawn from a frame.
      seed: the seed of the run.

    Returns:
      A pure function (state, batch) -> (state, metrics), the metrics scalars: `loss`, `top1` and
      `top5` of the batch before the update, its `learning_rate`, and whether loss, gradients and
      updated parameters are `finite`.
    """

    def loss_of(params: Params, images: Array, labels: Array, key: Array) -> tuple[Array, Any]:
        logits, _ = model.apply({"params": params}, images, train=True, rngs={"dropout": key})
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        best = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1] == labels[:, None]
        return losses.mean(), {"top1": best[:, 0].mean(), "top5": best.any(axis=-1).mean()}

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        key_view, key_dropout = jax.random.split(key)
        images = random_view(
            key_view, preprocessing.apply(jnp.asarray(batch.frames)), model.arch.input_size, crops
        )
        (loss, accuracies), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, images, batch.labels, key_dropout
        )
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        # A loss, gradient or parameter that is not finite makes this sum not finite.
        finite = jnp.isfinite(sum(map(jnp.sum, jax.tree.leaves((loss, params)))))
        after = TrainState(state.step + 1, params, opt_state)
        rate = optimizer.rate_state(opt_state).rate
        return after, {"loss": loss, **accuracies, "learning_rate": rate, "finite": finite}

    return train_step


def init_state(model: ZFNet, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step, which follows from the seed alone."""
    size = model.arch.input_size
    image = jnp.zeros((1, size, size, CHANNELS))
    params = jax.jit(model.init)(jax.random.key(seed), image)["params"]
    return TrainState(jnp.int32(0), params, tx.init(params))


def compile_step(step: TrainStep, mesh: Mesh) -> TrainStep:
    """Compiles a training step over a mesh; the memory of the state passed to it is reused."""
    whole = devices.replicated(mesh)
    return compilation.jit(
        step,
        donate_argnums=0,
        in_shardings=(whole, devices.by_example(mesh)),
        out_shardings=whole,
    )


def benchmark_step(arch: Architecture, batch_size: int) -> tuple[TrainStep, TrainState, Batch]:
    """A compiled training step with what it needs to run, on made-up pictures.

    Args:
      arch: the architecture; 1,000 classes.
      batch_size: images a step, a multiple of the number of devices.

    Returns:
      The step, as `make_train_step` describes it, whose state is donated; a state; a batch.
    """
    mesh, frame = devices.make_mesh(), frame_size(arch.input_size)
    model = ZFNet(arch, 1000, dtype=devices.compute_dtype("auto"))
    tx = optimizer.make_optimizer(OptimizerConfig(), arch, total_steps=1)
    mean = np.full((frame, frame, CHANNELS), 127.5, np.float32)
    step = make_train_step(model, tx, Preprocessing(frame, mean), "views", seed=0)
    rng = np.random.default_rng(0)
    batch = Batch(
        rng.integers(0, 256, (batch_size, frame, frame, CHANNELS), np.uint8),
        rng.integers(0, 1000, batch_size, np.int32),
    )
    state = devices.replicate(mesh, init_state(model, tx, seed=0))
    return compile_step(step, mesh), state, devices.to_devices(mesh, batch)
