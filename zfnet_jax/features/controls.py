"""Controls of a deconvnet's pictures: what they would show without what the net has learned.

A projection is made by the weights, by the switches and ReLUs that one picture set, and by the unit
it began with. Each control replaces one of the three (in the spirit of Adebayo et al. 2018).
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

_PIXEL_DEVIATION = 60.0  # standard deviation of photographs' pixels, 0..255, around their mean


def net_of(control: Control, net: Net, seed: int) -> Net:
    """The net that a control projects through: one of random weights, or the same.

    Random weights are drawn as training would draw them, by He's rule, the first layer's for the
    standard deviation that pixels have in the net's network space.
    """
    if control != "random-weights":
        return net
    arch = net.architecture
    deviation = _PIXEL_DEVIATION * float(np.mean(np.abs(net.preprocessing.scale)))
    model = ZFNet(arch, len(net.class_names), initializer="he", input_standard_deviation=deviation)
    images = jnp.zeros((1, arch.input_size, arch.input_size, 3))
    params = jax.jit(model.init)(jax.random.key(seed), images)["params"]
    return replace(net, params=params)


def units_of(
    control: Control, wanted: Mapping[str, Units], widths: Mapping[str, int], seed: int
) -> dict[str, Units]:
    """The units that a control projects in place of those wanted.

    Args:
      control: which.
      wanted: by layer, the units whose control it is.
      widths: by layer, how many maps it has.
      seed: which map is another's wrong one.

    Returns:
      For "wrong-unit" the same places in other maps, of each layer in one cyclic order; for the
      others the same places. All with the value 1, since a projection scales with its unit's value
      and a random net's unit may be silent.
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
    """What a control does to the trace of some images on the way down.

    Returns:
      For "shuffled-switches" a function that deals the switches of each map out to other places of
      that map; None for the others, which leave the trace as it is.
    """
    if control != "shuffled-switches":
        return None

    def shuffled(number: int, switches: Array) -> Array:
        count, rows, cols, maps = switches.shape
        key = jax.random.fold_in(jax.random.key(seed), number)
        places = switches.reshape(count, rows * cols, maps)
        dealt = jax.random.permutation(key, places, axis=1, independent=True)
        return dealt.reshape(switches.shape)

    return lambda trace: trace._replace(
        switches={
            name: shuffled(number, each)
            for number, (name, each) in enumerate(sorted(trace.switches.items()))
        }
    )
