"""The transform's projection on a CPU against `jax.vjp` of the same function.

    python benchmarks/transform.py [--architecture zfnet] [--layer conv5] [--images 8]

Photographs that scikit-image ships. Both go up to a layer and pull one seed back to the pixels,
compiled whole.

Prints the machine, a table (milliseconds a call, images a second), and last how much longer the
projection takes than the gradient, the ratio of medians.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from subjects import MEAN, cuts, random_net
from timing import describe_machine, interleave, print_cost, print_table

from zfnet_jax.commands import command_line
from zfnet_jax.core import compilation
from zfnet_jax.networks.function import network
from zfnet_jax.transform import projection
from zfnet_jax.zfnet import architecture

OURS, PLAIN = "transform", "jax.vjp"


def main(
    architecture: str = "zfnet", layer: str = "conv5", images: int = 8, rounds: int = 10
) -> None:
    """Time the transform's projection and the gradient.

    Example: python benchmarks/transform.py --architecture zfnet@128

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      layer: where the seed is.
      images: how many pictures at once.
      rounds: how often each is timed.
    """
    run(architecture, layer, images, rounds)


def run(name: str, layer: str, count: int, rounds: int) -> float:
    """Prints the comparison; returns how many times the gradient's time the projection takes."""
    net = random_net(architecture.get(name))
    pictures = jax.device_put(np.float32(cuts(net.architecture.input_size, count)) - MEAN)
    function = jax.device_put(network(net))

    def maps(images: Array, function: Any) -> Array:
        return function(images)[1][layer]

    def ours(images: Array, function: Any) -> Array:
        outputs, project = projection.deconvnet(maps)(images, function)
        return project(jnp.ones_like(outputs))

    def plain(images: Array, function: Any) -> Array:
        outputs, pullback = jax.vjp(lambda images: maps(images, function), images)
        return pullback(jnp.ones_like(outputs))[0]

    def timed(way: Callable[..., Array]) -> Callable[[], object]:
        compiled = compilation.jit(way)
        return lambda: jax.block_until_ready(compiled(pictures, function))

    print(describe_machine(["jax"]))
    print(f"{count} images, a seed of ones at {layer} of {name}")
    seconds = interleave({OURS: timed(ours), PLAIN: timed(plain)}, rounds)
    print_table(seconds, count)
    return print_cost(seconds, OURS, PLAIN)


if __name__ == "__main__":
    command_line.run(main)
