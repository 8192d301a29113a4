"""Projects many units of several layers, each image run forward once.

A unit's projection costs a fraction of the forward pass of its image. So units are taken together
image by image, whatever their layers: a group of images goes up once, and from its trace the units
of every layer come down in chunks of one size, so that there is one program for each layer.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from zfnet_jax.core import compilation
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.deconvnet import Units
from zfnet_jax.zfnet.model import ZFNet, forward
from zfnet_jax.zfnet.trace import Params, Trace


class Projected(NamedTuple):
    """Some of a layer's units, projected.

    Attributes:
      layer: its name.
      positions: (n,) int, which of the units asked for.
      patches: (n, field, field, 3) float32, network space but for the order of channels, which is
        RGB; of a dense layer, whole pictures.
      values: (n,) float32, what the activations are in the images as they were read now.
    """

    layer: str
    positions: np.ndarray
    patches: np.ndarray
    values: np.ndarray


def project_all(
    net: Net,
    read: Callable[[np.ndarray], Array],
    wanted: Mapping[str, Units],
    *,
    images_per_group: int = 32,
    units_per_chunk: int = 16,
    alter: Callable[[Trace], Trace] | None = None,
    **options: Any,
) -> Iterator[Projected]:
    """Projects units of any layers, in the order of their images.

    Zeiler & Fergus 2014, sections 2.1 and 4. Memory holds one group of images and what is yielded.

    Args:
      net: the net.
      read: item numbers, (n,) int, to images in network space, (n, size, size, 3) float32.
      wanted: by layer, the units; their `image` is an item number.
      images_per_group: how many images go up together.
      units_per_chunk: how many units come down together.
      alter: what is done to the trace on the way down; the values are those before.
      **options: of `deconvnet.project`.

    Yields:
      Each unit once, in chunks.
    """
    arch = net.architecture
    highest = max((arch[layer].name for layer in wanted), key=arch.index)
    go_up = _compiled_way_up(arch, len(net.class_names), highest)
    change = compilation.jit(alter) if alter else None
    go_down = {
        layer: _compiled_way_down(arch, layer, tuple(sorted(options.items()))) for layer in wanted
    }
    items = np.unique(np.concatenate([np.asarray(units.image) for units in wanted.values()]))
    size = min(images_per_group, len(items))
    for start in range(0, len(items), images_per_group):
        # The last group repeats its last image, so that there is one shape to compile.
        group = items[np.arange(start, start + size).clip(max=len(items) - 1)]
        trace = go_up(net.params, read(group))
        altered = change(trace) if change else trace
        for layer, units in wanted.items():
            (positions,) = np.nonzero(np.isin(units.image, group))
            for chunk in _chunks(positions, units_per_chunk):
                # The last chunk repeats its last unit.
                places = np.resize(chunk, units_per_chunk)
                here = Units(*(np.asarray(column)[places] for column in units))
                here = here._replace(image=np.searchsorted(items, here.image) - start)
                outputs = trace.activations[layer]
                patches, values = go_down[layer](net.params, altered, outputs, here)
                count = len(chunk)
                shown = net.preprocessing.reorder(np.asarray(patches)[:count])
                yield Projected(layer, chunk, shown, np.asarray(values)[:count])


def _chunks(positions: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


# Once for all calls: a net's snapshots, or a benchmark's rounds, run the same programs.
@cache
def _compiled_way_up(
    arch: Architecture, classes: int, highest: str
) -> Callable[[Params, Array], Trace]:
    """The trace of some images, as far up as a layer: what lies above it is not computed."""
    model = ZFNet(arch, classes)
    below = [layer.name for layer in arch][: arch.index(highest) + 1]

    def go_up(params: Params, images: Array) -> Trace:
        _, trace = forward(model, params, images)
        return Trace(*({name: kept[name] for name in below if name in kept} for kept in trace))

    return compilation.jit(go_up)


@cache
def _compiled_way_down(
    arch: Architecture, layer: str, options: tuple[tuple[str, Any], ...]
) -> Callable[[Params, Trace, Array, Units], tuple[Array, Array]]:
    return compilation.jit(partial(_project, arch, layer=layer, options=dict(options)))


def _project(
    arch: Architecture,
    params: Params,
    trace: Trace,
    outputs: Array,
    units: Units,
    *,
    layer: str,
    options: Mapping[str, Any],
) -> tuple[Array, Array]:
    """The projections of one chunk of units, and their activations."""
    if arch.is_spatial(layer):
        values = outputs[units.image, units.row, units.col, units.map]
        patches, _ = deconvnet.project_units(arch, params, trace, layer, units, **options)
        return patches, values
    # Each unit with a copy of its image's trace.
    own = jax.tree.map(lambda leaf: leaf[units.image], trace)
    seed = jax.nn.one_hot(units.map, outputs.shape[-1]) * jnp.asarray(units.value)[:, None]
    patches = deconvnet.project(arch, params, own, layer, seed, **options)
    return patches, outputs[units.image, units.map]
