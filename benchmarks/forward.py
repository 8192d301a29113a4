"""The forward pass to logits on a CPU against PyTorch.

    python benchmarks/forward.py [--architecture zfnet] [--batch-size 32] [--rounds 15]

The same net with the same weights on the same float images, without dropout; the logits are
compared first. PyTorch runs in inference mode, eager and compiled, in both memory layouts, each
given images in its own; the fastest counts.

Prints the machine, a table (milliseconds a batch, images a second), and last the ratio of medians:
above 1, this package is faster.
"""

from collections.abc import Callable

import jax
import numpy as np
import torch
from jax import Array
from pytorch import LAYOUTS, compiled, expect_same, images_of, network, use_threads
from timing import describe_machine, interleave, print_ratio, print_table
from torch import Tensor, nn

from zfnet_jax import architecture, cli, parallel
from zfnet_jax.data.scan import processors
from zfnet_jax.model import ZFNet

OURS = "zfnet_jax"


def main(architecture: str = "zfnet", batch_size: int = 32, rounds: int = 15) -> None:
    """Time the forward pass of this package and of PyTorch.

    Example: python benchmarks/forward.py --batch-size 32

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      batch_size: images at a time.
      rounds: how often each is timed.
    """
    run(architecture, batch_size, rounds)


def run(name: str, batch_size: int, rounds: int) -> float:
    """Prints the comparison; returns the ratio of speeds, above 1 where this package is faster."""
    arch = architecture.get(name)
    print(describe_machine(["jax", "torch"]))
    use_threads(processors())
    size = arch.input_size
    images = np.random.default_rng(0).normal(0, 60, (batch_size, size, size, 3)).astype(np.float32)
    model = ZFNet(arch, 1000)
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    logits = parallel.jit(lambda variables, images: model.apply(variables, images)[0])
    on_device = jax.device_put(images)

    def ours() -> Array:
        return jax.block_until_ready(logits(variables, on_device))

    calls: dict[str, Callable[[], object]] = {OURS: ours}
    for layout, memory in LAYOUTS.items():
        net = network(arch, variables["params"]).eval()
        net = net.to(memory_format=memory)  # pyright: ignore[reportCallIssue]
        given = images_of(images).contiguous(memory_format=memory)
        with torch.inference_mode():
            expect_same(ours(), net(given))
            faster = compiled(net, given)
        calls[f"PyTorch eager, {layout}"] = _inference(net, given)
        if faster:
            calls[f"PyTorch compiled, {layout}"] = _inference(faster, given)
    seconds = interleave(calls, rounds)
    print_table(seconds, batch_size)
    return print_ratio(seconds, OURS)


def _inference(net: nn.Module | Callable[..., Tensor], images: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def call() -> Tensor:
        return net(images)

    return call


if __name__ == "__main__":
    cli.run(main)
