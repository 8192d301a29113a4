"""Projecting the strongest units of every feature map, against Captum's `NeuronDeconvolution`.

    python benchmarks/projection.py [--architecture zfnet] [--folder PATH] [--images 256]
                                    [--sample 32] [--rounds 3]

The workload of an atlas: nine units of every map of every convolution layer, in nine of the
pictures, each at the map's strongest position there. For ZFNet that is 12,384 units of 1,376 maps.

Both have the same net, the same weights and the same pictures in memory, and both pay for their
forward passes. Ours does the whole workload as the atlas does, `project_all`: an image goes up once
for the units of all its layers, which come down within their receptive fields. Captum goes up and
down whole pictures; its rows are different pictures with a unit each, which a selector picks. It
does a sample of each layer's units, scaled to all of them, in both memory layouts and several
batch sizes; for each layer the fastest counts. Each has a process of its own, set up as its users
have it: ours keeps freed memory, as every command of this package does, and Captum's does not.

Two things raise the ratio. Captum is given the whole net, as its users give it, and runs the dense
layers of every forward pass; on a net cut off above the layer it would be faster. And each picture
holds many units: spread over more pictures, ours pays for more forward passes and Captum does not.

Captum's backward pass differs in one place, contrast normalisation, whose gradient it applies and
the paper's deconvnet leaves out: other values for nearly the same work. The two are compared first
on the net without it, where they must agree.

Without a folder the pictures are cuts of the photographs that scikit-image ships. The weights are
random, which no operation here depends on.

Prints the machine, a table (seconds for all units of a layer), and last the ratio of medians: above
1, this package is faster.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
import torch
from captum.attr import NeuronDeconvolution
from jax import Array
from pytorch import LAYOUTS, images_of, network, use_threads
from subjects import MEAN, cuts, random_net
from timing import alone, describe_machine, interleave, print_ratio
from torch import Tensor, nn

from zfnet_jax.commands import command_line
from zfnet_jax.core import compilation
from zfnet_jax.core.devices import processors
from zfnet_jax.core.memory import keep_freed_memory
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.splits import open_folder
from zfnet_jax.features.projection import project_all
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import architecture, deconvnet
from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv
from zfnet_jax.zfnet.model import forward
from zfnet_jax.zfnet.trace import Params
from zfnet_jax.zfnet.units import Units

OURS, CAPTUM = "zfnet_jax", "Captum"
PER_MAP = 9
BATCH_SIZES = (1, 4, 8, 16, 32)
TOLERANCE = 1e-5
"""How far projections may be apart, relative L2, the median of a layer's: now and then rounding
flips a switch, which moves one of them by up to a hundredth."""


def main(
    architecture: str = "zfnet",
    folder: Path | None = None,
    images: int = 256,
    sample: int = 32,
    rounds: int = 3,
) -> None:
    """Time the projection of every map's strongest units, here and in Captum.

    Example: python benchmarks/projection.py --folder ~/caltech101

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      folder: pictures, FOLDER/CLASS/PICTURE; by default cuts of scikit-image's photographs.
      images: how many pictures the units are spread over.
      sample: how many units of each layer Captum projects.
      rounds: how often each is timed.
    """
    command_line.expect("images", images, images >= PER_MAP, f"{PER_MAP} or more")
    command_line.expect(
        "sample", sample, sample >= max(BATCH_SIZES), f"{max(BATCH_SIZES)} or more, a batch"
    )
    run(architecture, folder, images, sample, rounds)


def run(name: str, folder: Path | None, images: int, sample: int, rounds: int) -> float:
    """Prints the comparison; returns the ratio of speeds, above 1 where this package is faster."""
    arch = architecture.get(name)
    print(describe_machine(["jax", "torch", "captum"]))
    pictures = _from_folder(folder, arch, images) if folder else cuts(arch.input_size, images)
    net = random_net(arch)
    wanted = _units(net, pictures)
    _check(net, pictures, wanted)
    rng = np.random.default_rng(0)
    sampled = {
        layer: _at(units, rng.permutation(len(units.image))[:sample])
        for layer, units in wanted.items()
    }
    ours = _alone(_our_projection, net, pictures, wanted)
    captum = {
        layout: _alone(_captum_projection, memory, net, pictures, sampled)
        for layout, memory in LAYOUTS.items()
    }
    ways = [(layout, batch_size) for layout in LAYOUTS for batch_size in BATCH_SIZES]
    seconds = interleave(
        {
            (OURS, *wanted): partial(ours, *wanted),
            **{(OURS, layer): partial(ours, layer) for layer in wanted},
            **{
                (CAPTUM, layer, *way): partial(captum[way[0]], layer, way[1])
                for layer in wanted
                for way in ways
            },
        },
        rounds,
    )
    totals = np.zeros(rounds)
    print(f"{'':8}{'units':>7}{OURS:>12}{CAPTUM:>12}  fastest Captum")
    for layer, units in wanted.items():
        count = len(units.image)
        layout, batch_size = min(ways, key=lambda way: median(seconds[CAPTUM, layer, *way]))
        scaled = np.array(seconds[CAPTUM, layer, layout, batch_size]) * count / sample
        totals += scaled
        mine = median(seconds[OURS, layer])
        print(f"{layer:8}{count:7}{mine:11.1f}s{median(scaled):11.1f}s  {batch_size}, {layout}")
    together = seconds[OURS, *wanted]
    count = sum(len(units.image) for units in wanted.values())
    print(f"{'together':8}{count:7}{median(together):11.1f}s{median(totals):11.1f}s")
    return print_ratio({OURS: together, CAPTUM: totals.tolist()}, OURS, digits=1)


def _alone(make: Callable[..., Callable[..., None]], *args: object) -> Callable[..., None]:
    call = alone(make, *args)
    assert call
    return call


def _our_projection(
    net: Net, pictures: np.ndarray, wanted: Mapping[str, Units]
) -> Callable[..., None]:
    """All units of the named layers, as an atlas has them."""
    keep_freed_memory()
    net = replace(net, params=jax.device_put(net.params))
    read = lambda items: net.preprocessing.apply(jax.numpy.asarray(pictures[items]))

    def project(*layers: str) -> None:
        for _ in project_all(net, read, {layer: wanted[layer] for layer in layers}):
            pass

    return project


def _captum_projection(
    memory: torch.memory_format, net: Net, pictures: np.ndarray, sampled: Mapping[str, Units]
) -> Callable[..., None]:
    """The sampled units of one layer in batches of one size."""
    use_threads(processors())
    torch_net = _torch_net(net.architecture, net.params).to(memory_format=memory)  # pyright: ignore[reportCallIssue]

    def project(layer: str, batch_size: int) -> None:
        units = sampled[layer]
        for start in range(0, len(units.image), batch_size):
            part = _at(units, slice(start, start + batch_size))
            images = images_of(pictures[part.image].astype(np.float32) - MEAN)
            _captum_units(torch_net, layer, images.contiguous(memory_format=memory), part)

    return project


def _torch_net(arch: Architecture, params: Params) -> nn.Sequential:
    """The net as Captum needs it, which hooks its ReLUs; weights want no gradients."""
    net = network(arch, params).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def _captum_units(net: nn.Sequential, layer: str, images: Tensor, units: Units) -> Tensor:
    """Whole projections, (N, 3, size, size), of a unit of each image, sent down as 1."""
    places = [torch.from_numpy(np.asarray(x)) for x in (units.map, units.row, units.col)]
    rows = torch.arange(len(images))

    def pick(maps: Any) -> Tensor:
        return maps[rows, *places]

    deconvolution = NeuronDeconvolution(net, net.get_submodule(f"{layer}_relu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each call says that it sets hooks
        return deconvolution.attribute(images, pick)


def _check(net: Net, pictures: np.ndarray, wanted: Mapping[str, Units], count: int = 5) -> None:
    """Refuses to compare two that do not project alike where they should, without the norms."""
    norms = [layer.name for layer in net.architecture if isinstance(layer, ContrastNorm)]
    arch = net.architecture.without(*norms)
    images = pictures[:count].astype(np.float32) - MEAN
    torch_net = _torch_net(arch, net.params)
    _, trace = compilation.jit(partial(forward, arch))(net.params, images)
    worst = 0.0
    for layer, units in wanted.items():
        ones = np.ones(count, np.float32)
        some = _at(units, slice(count))._replace(image=np.arange(count), value=ones)
        ours, boxes = deconvnet.project_units(arch, net.params, trace, layer, some)
        theirs = _captum_units(torch_net, layer, images_of(images), some)
        apart = []
        for patch, whole, (top, left, field, _) in zip(
            np.asarray(ours), theirs.permute(0, 2, 3, 1).numpy(), np.asarray(boxes), strict=True
        ):
            framed = np.pad(whole, [(field, field), (field, field), (0, 0)])
            crop = framed[top + field : top + 2 * field, left + field : left + 2 * field]
            apart.append(float(np.linalg.norm(patch - crop) / np.linalg.norm(crop)))
        worst = max(worst, median(apart))
    if not worst <= TOLERANCE:
        raise ValueError(f"projections differ by {worst:.1e}, expected {TOLERANCE}")
    print(f"without norms, the same projections: they differ by {worst:.1e} (median of a layer)")


def _units(net: Net, pictures: np.ndarray) -> dict[str, Units]:
    """For every map of every convolution layer its strongest position in nine of the pictures."""
    arch, rng = net.architecture, np.random.default_rng(0)
    layers = [layer.name for layer in arch if isinstance(layer, Conv)]

    def strongest(params: Params, images: Array) -> dict[str, tuple[Array, Array]]:
        _, trace = forward(arch, params, net.preprocessing.apply(images))
        flat = {
            layer: maps.reshape(len(maps), -1, maps.shape[-1])
            for layer, maps in trace.activations.items()
            if layer in layers
        }
        return {layer: (maps.argmax(1), maps.max(1)) for layer, maps in flat.items()}

    find = compilation.jit(strongest)
    found = [find(net.params, image[None]) for image in pictures]
    wanted = {}
    for layer in layers:
        place, value = (
            np.concatenate(x) for x in zip(*(each[layer] for each in found), strict=True)
        )
        maps = place.shape[1]
        image = rng.random((maps, len(pictures))).argsort(axis=1)[:, :PER_MAP].ravel()
        number = np.repeat(np.arange(maps), PER_MAP)
        row, col = np.divmod(place[image, number], arch.shapes()[layer][1])
        wanted[layer] = Units(image, row, col, number, value[image, number])
    return wanted


def _at(units: Units, which: np.ndarray | slice) -> Units:
    return Units(*(np.asarray(column)[which] for column in units))


def _from_folder(folder: Path, arch: Architecture, count: int) -> np.ndarray:
    source = open_folder(folder).train
    if len(source) < count:
        raise ValueError(f"{folder} has {len(source)} pictures to train on: expected {count}")
    items = np.random.default_rng(0).permutation(len(source))[:count]
    return ImageSet.of(source, arch.input_size, cache_gib=0).batch(items).frames


if __name__ == "__main__":
    command_line.run(main)
