"""Mining every convolution layer on a CPU against the plain forward pass to the logits.

    python benchmarks/mining.py [--architecture zfnet] [--folder PATH] [--batch-size 32]

Both see the same batches, in network space and on the device before the clock starts. The forward
pass is compiled alone and computes the logits of each batch; mining is `mine` as a data set is
mined, with its tables at the end, and never comes to the dense layers, which it need not compute.
Without a folder the pictures are noise.

Prints the machine, a table (milliseconds for the batches of one round, images a second), and last
the ratio of medians: above 1, mining is faster.
"""

from pathlib import Path

import jax
import numpy as np
from jax.tree_util import Partial
from timing import describe_machine, interleave, print_ratio, print_table

from zfnet_jax.commands import command_line
from zfnet_jax.core import compilation
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.splits import open_folder
from zfnet_jax.features.mining import mine
from zfnet_jax.networks.function import forward_of
from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import CHANNELS, Architecture, Conv
from zfnet_jax.zfnet.model import ZFNet

OURS, PLAIN = "mining", "forward pass"
MEAN = 127.5


def main(
    architecture: str = "zfnet",
    folder: Path | None = None,
    batch_size: int = 32,
    batches: int = 4,
    rounds: int = 7,
) -> None:
    """Time mining and the plain forward pass.

    Example: python benchmarks/mining.py --folder ~/caltech101

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      folder: pictures, FOLDER/CLASS/PICTURE; by default they are noise.
      batch_size: images at a time.
      batches: how many of them a round has.
      rounds: how often each is timed.
    """
    command_line.expect("batches", batches, batches >= 1, "1 or more")
    run(architecture, folder, batch_size, batches, rounds)


def run(name: str, folder: Path | None, batch_size: int, batches: int, rounds: int) -> float:
    """Prints the comparison; returns the ratio of speeds, above 1 where mining is faster."""
    arch = architecture.get(name)
    layers = [layer.name for layer in arch if isinstance(layer, Conv)]
    maps = sum(arch.shapes()[layer][-1] for layer in layers)
    print(describe_machine(["jax"]))
    print(f"{maps} maps of {', '.join(layers)}; {batches} batches of {batch_size} images")
    images = [jax.device_put(each) for each in pictures(arch, folder, batch_size, batches)]
    model = ZFNet(arch, 1000)
    params = jax.jit(model.init)(jax.random.key(0), images[0][:1])["params"]
    logits = compilation.jit(lambda params, images: model.apply({"params": params}, images)[0])

    def plain() -> None:
        for each in images:
            jax.block_until_ready(logits(params, each))

    numbers = np.arange(batch_size * batches).reshape(batches, batch_size)
    given = list(zip(images, numbers, numbers % 1000, strict=True))
    function = Partial(forward_of(arch), params)
    calls = {OURS: lambda: mine(function, given, layers), PLAIN: plain}
    seconds = interleave(calls, rounds)
    print_table(seconds, batch_size * batches)
    return print_ratio(seconds, OURS)


def pictures(
    arch: Architecture, folder: Path | None, batch_size: int, batches: int
) -> list[np.ndarray]:
    """Batches in network space: a folder's pictures, from the first again where they run out."""
    size = arch.input_size
    if folder is None:
        rng = np.random.default_rng(0)
        shape = (batch_size, size, size, CHANNELS)
        return [rng.normal(0, 60, shape).astype(np.float32) for _ in range(batches)]
    frames = ImageSet.of(open_folder(folder).train, size, cache_gib=0)
    items = np.resize(np.arange(len(frames)), batches * batch_size)
    found = all_batches(frames, batch_size=batch_size, items=items)
    return [each.frames.astype(np.float32) - MEAN for each in found]


if __name__ == "__main__":
    command_line.run(main)
