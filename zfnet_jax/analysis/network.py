"""A net as the analyses take it: a function of images that are already in network space."""

from collections.abc import Callable
from functools import cache

from jax import Array
from jax.tree_util import Partial

from zfnet_jax.architecture import Architecture
from zfnet_jax.model import ZFNet, forward
from zfnet_jax.net import Net
from zfnet_jax.trace import Params


def network(net: Net) -> Partial:
    """Images in network space, (N, size, size, 3) -> (logits, every layer's output).

    Nets of one architecture give equal functions of other parameters, which compile once.
    """
    return Partial(_network(net.architecture, len(net.class_names)), net.params)


@cache
def _network(
    arch: Architecture, classes: int
) -> Callable[[Params, Array], tuple[Array, dict[str, Array]]]:
    model = ZFNet(arch, classes)

    def function(params: Params, images: Array) -> tuple[Array, dict[str, Array]]:
        logits, trace = forward(model, params, images)
        return logits, trace.activations

    return function
