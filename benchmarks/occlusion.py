"""Occluding one picture at every position, against Captum's `Occlusion`.

    python benchmarks/occlusion.py [--architecture zfnet] [--size 48] [--stride 8] [--rounds 3]

One sweep of ours gives the probabilities of all classes and the activity of a map of the last
convolution; Captum's gives the mean drop of one class's probability over the squares that cover
each pixel. Both have the same net, the same weights and the same picture, and both run a forward
pass of the whole net for every position. Captum tries both memory layouts and several numbers of
`perturbations_per_eval` once; the fastest is timed against ours, in turns. Each has a process of
its own, set up as its users have it: ours keeps freed memory, as every command of this package
does.

The weights are random; those of the last layer are scaled so that the most probable class has
a good part of the probability, since a drop of nearly nothing is lost in rounding. First, Captum's
map is compared with the same mean over our drops; each side's own probabilities are some 1e-6 from
those in float64.

Prints the machine, the largest difference of the two maps, each of Captum's tries, a table
(milliseconds a sweep, positions a second), and last the ratio of medians: above 1, this package is
faster.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from timeit import timeit

import numpy as np
import torch
from captum.attr import Occlusion
from pytorch import LAYOUTS, images_of, network, use_threads
from subjects import MEAN, cuts, random_net
from timing import alone, describe_machine, interleave, print_ratio, print_table
from torch import nn

from zfnet_jax.analysis.occlusion import Occlusion as Found
from zfnet_jax.analysis.occlusion import occlude
from zfnet_jax.analysis.occlusion_maps import per_pixel_mean
from zfnet_jax.analysis.winograd import fast_network
from zfnet_jax.commands import command_line
from zfnet_jax.core import compilation
from zfnet_jax.core.devices import processors
from zfnet_jax.core.memory import keep_freed_memory
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import CHANNELS, Conv

OURS = "zfnet_jax"
BATCH_SIZES = (16, 32, 64, 128)
TOLERANCE = 1e-5
"""How far the two maps may be apart, in units of probability."""


def main(architecture: str = "zfnet", size: int = 48, stride: int = 8, rounds: int = 3) -> None:
    """Time a sweep of a square over one picture, here and in Captum.

    Example: python benchmarks/occlusion.py --rounds 5

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      size: the square's width and height, in pixels.
      stride: from one position to the next; steps that do not end at the picture's edge differ in
        Captum, which adds a square that is cut off.
      rounds: how often each is timed.
    """
    run(architecture, size, stride, rounds)


def run(name: str, size: int, stride: int, rounds: int) -> float:
    """Prints the comparison; returns the ratio of speeds, above 1 where this package is faster."""
    arch = architecture.get(name)
    print(describe_machine(["jax", "torch", "captum"]))
    image = cuts(arch.input_size, 1)[0].astype(np.float32) - MEAN
    net = _decided(random_net(arch), image)
    command_line.expect(
        "stride", stride, (arch.input_size - size) % stride == 0, "to end at the edge"
    )
    found = _occlude(net, image, size, stride)()
    label = int(found.unoccluded.argmax())
    mean = per_pixel_mean(found.drop(label), found.top_left, size, image.shape[:2])
    theirs = _captum(torch.contiguous_format, net, image, label, size, stride)(BATCH_SIZES[-1])
    apart, largest = float(np.abs(mean - theirs).max()), float(np.abs(theirs).max())
    if not apart <= TOLERANCE:
        raise ValueError(f"maps differ by {apart:.1e} in probability, expected {TOLERANCE}")
    print(
        f"{found.activity.size} positions, the same map: they differ by {apart:.1e} in "
        f"probability, {apart / largest:.1e} of the largest value"
    )
    ours = alone(_ours, net, image, size, stride)
    assert ours
    tried: dict[str, Callable[[], None]] = {}
    for layout, memory in LAYOUTS.items():
        captum = alone(_captum, memory, net, image, label, size, stride)
        assert captum
        for count in BATCH_SIZES:
            tried[f"Captum, {layout}, {count} a time"] = partial(captum, count)
    once = {name: timeit(call, number=1) for name, call in tried.items()}
    for name, taken in once.items():
        print(f"{name}: {taken:.1f} s")
    best = min(once, key=once.__getitem__)
    seconds = interleave({OURS: ours, best: tried[best]}, rounds)
    print_table(seconds, found.activity.size)
    return print_ratio(seconds, OURS)


def _decided(net: Net, image: np.ndarray) -> Net:
    """The net, sure enough of one class that a hidden part shows."""
    last = net.architecture.layers[-1].name
    function = fast_network(net)
    logits, _ = compilation.jit(lambda image: function(image[None]))(image)
    # With normal logits of deviation d, the largest of 1,000 is about exp(3.2 d) / exp(d^2 / 2).
    kernel = net.params[last]["kernel"] * (4.0 / np.asarray(logits).std())
    return replace(net, params={**net.params, last: {**net.params[last], "kernel": kernel}})


def _occlude(net: Net, image: np.ndarray, size: int, stride: int) -> Callable[[], Found]:
    layer = [each.name for each in net.architecture if isinstance(each, Conv)][-1]
    return partial(occlude, fast_network(net), image, layer, size=size, stride=stride)


def _ours(net: Net, image: np.ndarray, size: int, stride: int) -> Callable[[], Found]:
    keep_freed_memory()
    return _occlude(net, image, size, stride)


def _captum(
    memory: torch.memory_format, net: Net, image: np.ndarray, label: int, size: int, stride: int
) -> Callable[[int], np.ndarray]:
    """A class's map, (H, W), by so many positions at a time."""
    use_threads(processors())
    layers = network(net.architecture, net.params).eval().requires_grad_(False)
    torch_net = nn.Sequential(layers, nn.Softmax(dim=1)).to(memory_format=memory)  # pyright: ignore[reportCallIssue]
    given = images_of(image[None]).contiguous(memory_format=memory)
    occlusion = Occlusion(torch_net)

    def attribute(count: int) -> np.ndarray:
        found = occlusion.attribute(
            given,
            sliding_window_shapes=(CHANNELS, size, size),
            strides=(CHANNELS, stride, stride),
            target=label,
            perturbations_per_eval=count,
        )
        return found[0, 0].numpy()

    return attribute


if __name__ == "__main__":
    command_line.run(main)
