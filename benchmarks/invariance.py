"""The invariance analysis on a CPU against the plain forward pass of as many images.

    python benchmarks/invariance.py [--architecture zfnet] [--images 5] [--steps 40]

Photographs that scikit-image ships, in network space. The analysis moves, enlarges and turns each
in so many steps, runs the net, and measures the distance from the original at two layers and the
probability of a label. The forward pass is compiled alone and computes the logits of as many
pictures, in batches of the same size.

Prints the machine, a table (milliseconds for a round, images a second), and last how much longer
the analysis takes, the ratio of medians.
"""

import jax
import numpy as np
from subjects import MEAN, cuts, random_net
from timing import describe_machine, interleave, print_cost, print_table

from zfnet_jax.analysis import affine, invariance
from zfnet_jax.commands import command_line
from zfnet_jax.core import compilation
from zfnet_jax.networks.function import network
from zfnet_jax.zfnet import architecture

OURS, PLAIN = "invariance", "forward pass"


def main(
    architecture: str = "zfnet",
    images: int = 5,
    steps: int = 40,
    batch_size: int = 30,
    rounds: int = 5,
) -> None:
    """Time the invariance analysis and the plain forward pass.

    Example: python benchmarks/invariance.py --architecture zfnet@128

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      images: how many pictures.
      steps: of each of translation, scale and rotation.
      batch_size: about how many transformed pictures are seen at once.
      rounds: how often each is timed.
    """
    command_line.expect(
        "batch-size", batch_size, batch_size >= images, f"{images}, the images, or more"
    )
    run(architecture, images, steps, batch_size, rounds)


def run(name: str, count: int, steps: int, batch_size: int, rounds: int) -> float:
    """Prints the comparison; returns how many times the forward pass's time the analysis takes."""
    net = random_net(architecture.get(name))
    size = net.architecture.input_size
    pictures = cuts(size, count).astype(np.float32) - MEAN
    maps = np.concatenate(
        [
            affine.translations(np.linspace(-60, 60, steps) * size / 224),
            affine.scales(np.linspace(1, 1.8, steps)),
            affine.rotations(np.linspace(0, 350, steps)),
        ]
    )
    layers = invariance.default_layers(net.architecture)
    total = count * len(maps)
    print(describe_machine(["jax"]))
    print(f"{count} images, {len(maps)} steps each; distances at {' and '.join(layers)}")
    function, labels = network(net), np.arange(count)
    logits = compilation.jit(lambda function, images: function(images)[0])
    function = jax.device_put(function)
    batch = jax.device_put(np.resize(pictures, (batch_size, *pictures.shape[1:])))

    def plain() -> None:
        for _ in range(0, total, batch_size):
            jax.block_until_ready(logits(function, batch))

    def ours() -> None:
        invariance.respond(function, pictures, labels, maps, layers, batch_size=batch_size)

    seconds = interleave({OURS: ours, PLAIN: plain}, rounds)
    print_table(seconds, total)
    return print_cost(seconds, OURS, PLAIN)


if __name__ == "__main__":
    command_line.run(main)
