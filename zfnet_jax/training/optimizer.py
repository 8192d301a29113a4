"""The paper's optimiser as optax transformations (Zeiler & Fergus 2014, section 3).

Stochastic gradient descent with momentum, the cap on the filters' RMS, and a learning rate that is
lowered when the validation error stops falling. The whole state is one pytree.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from zfnet_jax.config import OptimizerConfig
from zfnet_jax.zfnet.architecture import Architecture, Conv


class RateState(NamedTuple):
    """The state of the learning rate.

    Attributes:
      updates: how many updates there have been, int32.
      rate: the rate of the last update, float32.
      scale: the product of the factors of all plateaus so far, 1 at the start, float32.
      best: the lowest validation error so far, 0..1, float32.
      waited: how many epochs there have been since the best one, int32.
      epochs: how many epochs have been validated, int32.
    """

    updates: Array
    rate: Array
    scale: Array
    best: Array
    waited: Array
    epochs: Array


def make_optimizer(
    config: OptimizerConfig, arch: Architecture, total_steps: int
) -> optax.GradientTransformation:
    """The optimiser of a run.

    The update is velocity = momentum * velocity + gradient + weight_decay * kernel,
    parameter -= rate * velocity, then the filter cap. The rate multiplies the velocity, as in optax
    and PyTorch; in cuda-convnet it is part of the velocity, which differs only where the rate
    changes.

    Args:
      config: rates and limits.
      arch: the architecture, whose convolution filters are capped.
      total_steps: the length of the run, at which the cosine schedule ends.

    Returns:
      An optax transformation; its update needs the parameters.
    """
    convolutions = [layer.name for layer in arch if isinstance(layer, Conv)]
    first = scale_kernel(config.first_layer_rate, convolutions[0])
    limits = dict.fromkeys(convolutions, config.filter_cap)
    limits[convolutions[0]] = config.cap_of_first_layer
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=_kernels),
        optax.trace(config.momentum),
        first if config.first_layer_rate != 1 else optax.identity(),
        scale_by_rate(rate_schedule(config, total_steps)),
        cap_filters({name: limit for name, limit in limits.items() if limit}),
    )


def rate_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """The learning rate by step, without the factors of plateaus."""
    rate, warmup = config.learning_rate, config.warmup_steps
    later = (
        optax.cosine_decay_schedule(rate, max(1, total_steps - warmup))
        if config.schedule == "cosine"
        else optax.constant_schedule(rate)
    )
    if not warmup:
        return later
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), later], [warmup])


def scale_kernel(factor: float, layer: str) -> optax.GradientTransformation:
    """Multiplies the updates of one layer's kernel, weight decay included.

    The standard deviation of pixels is about 60 times that of any layer's activations. So the
    first kernel's gradients are 60 times larger and its weights 60 times smaller than those of the
    other layers, and no rate suits all layers: the first layer diverges or the others hardly learn.

    Args:
      factor: above 0.
      layer: the name of the layer.
    """

    def update_fn(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        kernel = updates[layer]["kernel"] * factor
        return {**updates, layer: {**updates[layer], "kernel": kernel}}, state

    return optax.GradientTransformation(_stateless, update_fn)


def cap_filters(limits: Mapping[str, float]) -> optax.GradientTransformation:
    """Rescales every convolution filter whose RMS would exceed its layer's limit to that RMS.

    Zeiler & Fergus 2014, section 3: "renormalize each filter in the convolutional layers whose RMS
    value exceeds a fixed radius of 1e-1 to this fixed radius". The RMS is over all weights of one
    output filter; biases are not part of it.

    Args:
      limits: by the name of a convolution layer, the largest RMS, above 0.

    Returns:
      A transformation to apply last: it changes the update so that no updated filter exceeds its
      limit.
    """

    def capped(path: tuple[Any, ...], update: Array, parameter: Array) -> Array:
        layer, kind = (key.key for key in path)
        if layer not in limits or kind != "kernel":
            return update
        limit, new = limits[layer], parameter + update
        rms = jnp.sqrt(jnp.mean(new**2, axis=(0, 1, 2)))
        return jnp.where(rms > limit, new * (limit / rms) - parameter, update)

    def update_fn(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("cap_filters: expected the parameters, got None")
        return jax.tree_util.tree_map_with_path(capped, updates, params), state

    return optax.GradientTransformation(_stateless, update_fn)


def scale_by_rate(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the scheduled rate times the scale that `observe` lowers."""

    def init_fn(params: Any) -> RateState:
        del params
        return RateState(
            updates=jnp.int32(0),
            rate=jnp.float32(0),
            scale=jnp.float32(1),
            best=jnp.float32(jnp.inf),
            waited=jnp.int32(0),
            epochs=jnp.int32(0),
        )

    def update_fn(updates: Any, state: Any, params: Any = None) -> tuple[Any, RateState]:
        del params
        rate = jnp.float32(schedule(state.updates)) * state.scale
        after = state._replace(updates=state.updates + 1, rate=rate)
        return jax.tree.map(lambda update: -rate * update, updates), after

    return optax.GradientTransformation(init_fn, update_fn)


def observe(opt_state: Any, error: float, config: OptimizerConfig) -> Any:
    """The optimiser's state after an epoch, with a lower rate if the error has stopped falling.

    Zeiler & Fergus 2014, section 3: annealed by hand "when the validation error plateaus".

    Args:
      opt_state: the state of the transformation that `make_optimizer` returns.
      error: the validation error of this epoch, 0..1.
      config: its `patience` is how many epochs may pass without a lower error.

    Returns:
      A state of the same structure.
    """
    state = rate_state(opt_state)
    scale, best, waited = state.scale, state.best, state.waited + 1
    if error < best:
        best, waited = jnp.float32(error), jnp.int32(0)
    elif waited >= config.patience and config.schedule == "plateau":
        scale, waited = scale * config.factor, jnp.int32(0)
    after = state._replace(scale=scale, best=best, waited=waited, epochs=state.epochs + 1)
    return jax.tree.map(lambda node: after if _is_rate(node) else node, opt_state, is_leaf=_is_rate)


def rate_state(opt_state: Any) -> RateState:
    """The state of the learning rate, which is a part of the optimiser's state."""
    return next(node for node in jax.tree.leaves(opt_state, is_leaf=_is_rate) if _is_rate(node))


def _is_rate(node: Any) -> bool:
    return isinstance(node, RateState)


def _kernels(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _stateless(params: Any) -> optax.EmptyState:
    del params
    return optax.EmptyState()
