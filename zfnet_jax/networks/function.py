"""A trained net as a function of images, for all that looks into a network.

Nets of one architecture give equal functions of other parameters, which compile once.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from zfnet_jax.core import compilation
from zfnet_jax.data.preprocessing import Channels, Preprocessing, Scale, centre_view
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import forward


def network(net: Net) -> Partial:
    """Images in network space, (N, size, size, 3) -> (logits, every layer's activations)."""
    return Partial(forward_of(net.architecture), net.params)


def network_of_raw(net: Net) -> Partial:
    """Raw pictures, (N, frame, frame, 3) uint8 -> (logits, every layer's activations).

    The net sees the centre view of each.
    """
    preprocessing = net.preprocessing
    function = _forward_of_raw(
        net.architecture, preprocessing.frame, preprocessing.scale, preprocessing.channels
    )
    return Partial(function, net.params, preprocessing.mean)


def network_input(net: Net) -> Callable[[np.ndarray], Array]:
    """A compiled function from raw pictures to the centre views that the net sees of them.

    Takes (N, frame, frame, 3) uint8 and returns (N, size, size, 3) float32 in network space.
    """
    size = net.architecture.input_size
    return compilation.jit(lambda raw: centre_view(net.preprocessing.apply(raw), size))


@cache
def forward_of(
    arch: Architecture, conv: Callable[..., Array] = ops.conv
) -> Callable[[Any, Any], tuple[Array, dict[str, Array]]]:
    """(parameters, images in network space) -> (logits, activations) of an architecture.

    Args:
      arch: the layers.
      conv: what a convolution is done with, as in `model.forward`.
    """

    def function(params: Any, images: Any) -> tuple[Array, dict[str, Array]]:
        logits, trace = forward(arch, params, jnp.asarray(images), conv=conv)
        return logits, trace.activations

    return function


@cache
def _forward_of_raw(
    arch: Architecture, frame: int, scale: Scale, channels: Channels
) -> Callable[[Any, np.ndarray, Array], tuple[Array, dict[str, Array]]]:
    function = forward_of(arch)

    def function_of_raw(
        params: Any, mean: np.ndarray, raw: Array
    ) -> tuple[Array, dict[str, Array]]:
        preprocessing = Preprocessing(frame, mean, scale, channels)
        return function(params, centre_view(preprocessing.apply(raw), arch.input_size))

    return function_of_raw
