"""Projects many units of several layers, with one forward pass for each image.

A unit's projection costs a fraction of the forward pass of its image. So units are taken together
image by image, whatever their layers: a group of images is run forward once, and from its trace the
units of every layer are projected in chunks of one size, so that each layer has one program.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from zfnet_jax.core import compilation
from zfnet_jax.core.batches import equal_batches
from zfnet_jax.core.summary import summary
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import forward
from zfnet_jax.zfnet.trace import Params, Trace
from zfnet_jax.zfnet.units import Units, checked_units

PAPER = deconvnet.Options()
"""The deconvnet as the paper has it."""


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

    def __repr__(self) -> str:
        return summary(self)


def project_all(
    net: Net,
    read: Callable[[np.ndarray], Array],
    wanted: Mapping[str, Units],
    *,
    images_per_group: int = 32,
    units_per_chunk: int = 16,
    alter: Callable[[Trace], Trace] | None = None,
    options: deconvnet.Options = PAPER,
) -> Iterator[Projected]:
    """Projects units of any layers, in the order of their images.

    Zeiler & Fergus 2014, sections 2.1 and 4. Memory holds one group of images and what is yielded.

    Args:
      net: the net.
      read: item numbers, (n,) int, to images in network space, (n, size, size, 3) float32.
      wanted: by layer, the units; their `image` is an item number.
      images_per_group: how many images are run forward together.
      units_per_chunk: how many units are projected together.
      alter: what is done to the trace before the projection; the values are those before.
      options: of the deconvnet.

    Yields:
      Each unit once, in chunks.

    Raises:
      ValueError: there is no such layer, or a unit is not one of its layer's.
    """
    arch = net.architecture
    shapes = arch.shapes(len(net.class_names))
    wanted = {
        layer: checked_units(units, layer, (None, *shapes[arch[layer].name]))
        for layer, units in wanted.items()
    }
    highest = max(wanted, key=arch.index)
    trace_of = _compiled_trace(arch, highest)
    altered_of = compilation.jit(alter) if alter else lambda trace: trace
    items = np.unique(np.concatenate([np.asarray(units.image) for units in wanted.values()]))
    for numbers, _ in equal_batches(len(items), max(1, min(images_per_group, len(items)))):
        group = items[numbers]
        trace = trace_of(net.params, read(group))
        altered = altered_of(trace)
        for layer, units in wanted.items():
            project_chunk = _compiled_projection(arch, layer, options)
            (positions,) = np.nonzero(np.isin(units.image, group))
            for rows, count in equal_batches(len(positions), units_per_chunk):
                some = positions[rows]
                chunk = Units(*(np.asarray(column)[some] for column in units))
                chunk = chunk._replace(image=np.searchsorted(items, chunk.image) - numbers[0])
                outputs = trace.activations[layer]
                patches, values = project_chunk(net.params, altered, outputs, chunk)
                rgb = net.preprocessing.reorder(np.asarray(patches)[:count])
                yield Projected(layer, some[:count], rgb, np.asarray(values)[:count])


# Once for all calls: a net's snapshots, or a benchmark's rounds, run the same programs.
@cache
def _compiled_trace(arch: Architecture, highest: str) -> Callable[[Params, Array], Trace]:
    """The trace of some images up to a layer: what lies above it is not computed."""
    needed = [layer.name for layer in arch][: arch.index(highest) + 1]

    def trace_of(params: Params, images: Array) -> Trace:
        _, trace = forward(arch, params, images)
        return Trace(
            *({name: arrays[name] for name in needed if name in arrays} for arrays in trace)
        )

    return compilation.jit(trace_of)


@cache
def _compiled_projection(
    arch: Architecture, layer: str, options: deconvnet.Options
) -> Callable[[Params, Trace, Array, Units], tuple[Array, Array]]:
    return compilation.jit(partial(_project_chunk, arch, layer=layer, options=options))


def _project_chunk(
    arch: Architecture,
    params: Params,
    trace: Trace,
    outputs: Array,
    units: Units,
    *,
    layer: str,
    options: deconvnet.Options,
) -> tuple[Array, Array]:
    """The projections of one chunk of units, and their activations."""
    if arch.is_spatial(layer):
        values = outputs[units.image, units.row, units.col, units.map]
        patches, _ = deconvnet.project_units(arch, params, trace, layer, units, **asdict(options))
        return patches, values
    # Each unit with a copy of its image's trace.
    own = jax.tree.map(lambda leaf: leaf[units.image], trace)
    seed = jax.nn.one_hot(units.map, outputs.shape[-1]) * jnp.asarray(units.value)[:, None]
    patches = deconvnet.project(arch, params, own, layer, seed, **asdict(options))
    return patches, outputs[units.image, units.map]
