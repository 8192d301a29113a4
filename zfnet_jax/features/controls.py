"""Controls of projections: the same pictures without something that the net has learned.

A projection depends on the weights, on the switches and ReLUs that one picture set, and on the unit
that it starts from. Each control replaces one of the three (as in Adebayo et al. 2018).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Trace
from zfnet_jax.zfnet.units import Units

Control = Literal["random-weights", "shuffled-switches", "wrong-unit"]

RAW_STANDARD_DEVIATION = 60.0
"""Of the pixels of photographs around their mean, 0..255."""


def net_of(control: Control, net: Net, seed: int) -> Net:
    """The net that a control projects through: one of random weights, or the same.

    Random weights are drawn as training would draw them, by He's rule, the first layer's for the
    standard deviation of the net's own pixels, which the scale of its preprocessing gives.
    """
    if control != "random-weights":
        return net
    arch = net.architecture
    scale = float(np.mean(np.abs(net.preprocessing.scale)))
    model = ZFNet(
        arch,
        len(net.class_names),
        initializer="he",
        input_standard_deviation=RAW_STANDARD_DEVIATION * scale,
    )
    images = jnp.zeros((1, arch.input_size, arch.input_size, 3))
    params = jax.jit(model.init)(jax.random.key(seed), images)["params"]
    return replace(net, params=params)


def units_of(
    control: Control, wanted: Mapping[str, Units], widths: Mapping[str, int], seed: int
) -> dict[str, Units]:
    """The units that a control projects in place of those wanted.

    Args:
      control: the control.
      wanted: by layer, the units.
      widths: by layer, how many maps it has.
      seed: of the order in which maps are replaced by others.

    Returns:
      For "wrong-unit" the same rows and columns in other maps, each map replaced by the one that
      follows it in one cyclic order of the layer's maps; for the other controls the same units. All
      with the value 1, since a projection scales with its unit's value, which may be 0 in a random
      net.
    """
    rng = np.random.default_rng(seed)
    changed = {}
    for layer, units in wanted.items():
        maps = np.asarray(units.map)
        if control == "wrong-unit" and widths[layer] > 1:
            order = rng.permutation(widths[layer])
            following = np.empty_like(order)
            following[order] = np.roll(order, -1)
            maps = following[maps]
        ones = np.ones(len(maps), np.float32)
        changed[layer] = units._replace(map=maps, value=ones)
    return changed


def trace_of(control: Control, seed: int) -> Callable[[Trace], Trace] | None:
    """What a control changes in the trace of some images before the projection.

    Returns:
      For "shuffled-switches" a function that permutes the switches within each map; None for the
      other controls, which leave the trace as it is.
    """
    if control != "shuffled-switches":
        return None

    def shuffled(number: int, switches: Array) -> Array:
        count, rows, cols, channels = switches.shape
        key = jax.random.fold_in(jax.random.key(seed), number)
        flat = switches.reshape(count, rows * cols, channels)
        permuted = jax.random.permutation(key, flat, axis=1, independent=True)
        return permuted.reshape(switches.shape)

    return lambda trace: trace._replace(
        switches={
            name: shuffled(number, switches)
            for number, (name, switches) in enumerate(sorted(trace.switches.items()))
        }
    )
