"""One training step on a CPU against PyTorch.

    python benchmarks/train_step.py [--architecture zfnet] [--batch-size 32] [--rounds 7]
                                    [--same-heap]

Both start from uint8 frames in memory and do the whole step: subtract the mean, crop and flip each
frame at random, forward with dropout, cross-entropy, backward, SGD with momentum, weight decay on
the weights, filter cap. The nets are the same, which is checked on their logits first. PyTorch runs
eager and compiled, in both memory layouts, with its fused SGD; the fastest counts. Each has a
process of its own, set up as its users have it: ours keeps freed memory, as every command of this
package does; with `--same-heap` PyTorch's do as well.

Prints the machine, a table (milliseconds a step, images a second), and last the ratio of medians:
above 1, this package is faster.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
import torch
from pytorch import compiled, expect_same, images_of, in_all_ways, network, use_threads
from timing import alone, describe_machine, interleave, print_ratio, print_table
from torch import Tensor, nn

from zfnet_jax.commands import command_line
from zfnet_jax.config import OptimizerConfig
from zfnet_jax.core import compilation
from zfnet_jax.core.devices import processors
from zfnet_jax.core.memory import keep_freed_memory
from zfnet_jax.data.pipeline import Batch
from zfnet_jax.training.step import benchmark_step
from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import ZFNet

OURS = "zfnet_jax"
MEAN = 127.5


def main(
    architecture: str = "zfnet", batch_size: int = 32, rounds: int = 7, same_heap: bool = False
) -> None:
    """Time one training step of this package and of PyTorch.

    Example: python benchmarks/train_step.py --batch-size 32

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      batch_size: images a step.
      rounds: how often each is timed.
      same_heap: whether PyTorch's processes keep freed memory too.
    """
    run(architecture, batch_size, rounds, same_heap)


def run(name: str, batch_size: int, rounds: int, same_heap: bool) -> float:
    """Prints the comparison; returns the ratio of speeds, above 1 where this package is faster."""
    arch = architecture.get(name)
    print(describe_machine(["jax", "torch"]))
    _, state, batch = benchmark_step(arch, batch_size)
    params, host = jax.tree.map(np.asarray, (state.params, batch))
    _check(arch, params, host)
    calls = in_all_ways(_torch_step, arch, params, host, same_heap)
    ours = alone(_our_step, arch, batch_size)
    assert ours
    seconds = interleave({OURS: ours, **calls}, rounds)
    print_table(seconds, batch_size)
    return print_ratio(seconds, OURS)


def _our_step(arch: Architecture, batch_size: int) -> Callable[[], object]:
    keep_freed_memory()
    step, state, batch = benchmark_step(arch, batch_size)

    def call() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))

    return call


def _check(arch: Architecture, params: dict, batch: Batch) -> None:
    """Refuses to compare nets that do not give the same logits."""
    images = np.asarray(batch.frames[:2, : arch.input_size, : arch.input_size], np.float32) - MEAN
    ours, _ = compilation.jit(ZFNet(arch, 1000).apply)({"params": params}, images)
    with torch.inference_mode():
        expect_same(ours, network(arch, params).eval()(images_of(images)))


def _torch_step(
    memory: torch.memory_format,
    compile_it: bool,
    arch: Architecture,
    params: dict,
    batch: Batch,
    same_heap: bool,
) -> Callable[[], object] | None:
    """The same step in PyTorch; None if it cannot be compiled."""
    if same_heap:
        keep_freed_memory()
    use_threads(processors())
    config = OptimizerConfig()
    net = network(arch, params).to(memory_format=memory)  # pyright: ignore[reportCallIssue]
    weights = [weight for weight in net.parameters() if weight.ndim > 1]
    filters = [weight for weight in weights if weight.ndim == 4]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": [bias for bias in net.parameters() if bias.ndim == 1]},
    ]
    sgd = torch.optim.SGD(groups, config.learning_rate, config.momentum, fused=True)
    frames, labels = images_of(batch.frames), torch.from_numpy(batch.labels.astype(np.int64))
    mean = torch.full(frames.shape[1:], MEAN)

    def loss_of(images: Tensor) -> Tensor:
        return nn.functional.cross_entropy(net(images), labels)

    def images() -> Tensor:
        return _random_views(frames - mean, arch.input_size).contiguous(memory_format=memory)

    forward = compiled(loss_of, images()) if compile_it else loss_of
    if forward is None:
        return None

    def step() -> None:
        sgd.zero_grad()
        forward(images()).backward()
        sgd.step()
        _cap(filters, config.filter_cap)

    return step


def _random_views(images: Tensor, size: int) -> Tensor:
    """One of the paper's ten views of each image, as the training step draws them."""
    far, middle = images.shape[-1] - size, (images.shape[-1] - size) // 2
    five = ((0, 0), (0, far), (far, 0), (far, far), (middle, middle))
    places = [five[place] for place in torch.randint(0, 5, (len(images),)).tolist()]
    crops = torch.stack(
        [
            image[:, top : top + size, left : left + size]
            for image, (top, left) in zip(images, places, strict=True)
        ]
    )
    flips = torch.rand(len(crops), 1, 1, 1) < 0.5
    return torch.where(flips, crops.flip(-1), crops)


@torch.no_grad()
def _cap(filters: Sequence[Tensor], limit: float) -> None:
    for kernel in filters:
        rms = kernel.square().mean((1, 2, 3), keepdim=True).sqrt()
        kernel.mul_((limit / rms).clamp(max=1))


if __name__ == "__main__":
    command_line.run(main)
