"""A net as the analyses take it: a function of images that are already in network space."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from zfnet_jax.analysis import winograd
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import walk

_prepare = partial(jax.jit, static_argnums=0)(winograd.prepare)


def network(net: Net) -> Partial:
    """Images in network space, (N, size, size, 3) -> (logits, every layer's output).

    Nets of one architecture give equal functions of other parameters, which compile once.
    """
    return Partial(_network(net.architecture, ops.conv), net.params)


def fast_network(net: Net) -> Partial:
    """`network`, but on a CPU with fewer multiplications and more rounding, as `winograd` says.

    For analyses that need neither switches nor that units which see the same pixels are equal. Of
    several devices each would see every picture, since the parts that a cache holds are no device's
    share of a batch: there it is `network`.
    """
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1:
        return network(net)
    arch = net.architecture
    return Partial(_network(arch, winograd.conv), _prepare(arch, net.params))


@cache
def _network(
    arch: Architecture, conv: Callable[..., Array]
) -> Callable[[Any, Array], tuple[Array, dict[str, Array]]]:
    def function(params: Any, images: Array) -> tuple[Array, dict[str, Array]]:
        logits, trace = walk(arch, params, images.astype(jnp.float32), conv=conv)
        return logits, trace.activations

    return function
