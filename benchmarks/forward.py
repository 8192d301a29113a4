"""The forward pass to logits on a CPU against PyTorch.

    python benchmarks/forward.py [--architecture zfnet] [--batch-size 32] [--rounds 15]

The same net with the same weights on the same float images, without dropout; the logits are
compared first. PyTorch runs in inference mode, eager and compiled, in both memory layouts, each
given images in its own; the fastest counts.

Each has a process of its own, set up as its users have it: ours keeps freed memory, as every
command of this package does.

Prints the machine, a table (milliseconds a batch, images a second), and last the ratio of medians:
above 1, this package is faster.
"""

from collections.abc import Callable

import jax
import numpy as np
import torch
from jax import Array
from pytorch import compiled, expect_same, images_of, in_all_ways, network, use_threads
from timing import alone, describe_machine, interleave, print_ratio, print_table
from torch import Tensor

from zfnet_jax.commands import command_line
from zfnet_jax.core import compilation
from zfnet_jax.core.devices import processors
from zfnet_jax.core.memory import keep_freed_memory
from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Params

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
    size = arch.input_size
    images = np.random.default_rng(0).normal(0, 60, (batch_size, size, size, 3)).astype(np.float32)
    variables = jax.jit(ZFNet(arch, 1000).init)(jax.random.key(0), images[:1])
    params = jax.tree.map(np.asarray, variables["params"])
    with torch.inference_mode():
        logits = network(arch, params).eval()(images_of(images))
    expect_same(_our_forward(arch, params, images)(), logits)
    ours = alone(_our_forward, arch, params, images)
    assert ours
    calls = {OURS: ours, **in_all_ways(_torch_forward, arch, params, images)}
    seconds = interleave(calls, rounds)
    print_table(seconds, batch_size)
    return print_ratio(seconds, OURS)


def _our_forward(arch: Architecture, params: Params, images: np.ndarray) -> Callable[[], Array]:
    keep_freed_memory()
    model = ZFNet(arch, 1000)
    logits = compilation.jit(lambda params, images: model.apply({"params": params}, images)[0])
    given = jax.device_put((params, images))
    return lambda: jax.block_until_ready(logits(*given))


def _torch_forward(
    memory: torch.memory_format,
    compile_it: bool,
    arch: Architecture,
    params: Params,
    images: np.ndarray,
) -> Callable[[], Tensor] | None:
    use_threads(processors())
    net = network(arch, params).eval()
    net = net.to(memory_format=memory)  # pyright: ignore[reportCallIssue]
    given = images_of(images).contiguous(memory_format=memory)
    with torch.inference_mode():
        forward = compiled(net, given) if compile_it else net
    if forward is None:
        return None

    @torch.inference_mode()
    def call() -> Tensor:
        return forward(given)

    return call


if __name__ == "__main__":
    command_line.run(main)
