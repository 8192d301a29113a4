"""A network's outputs for a picture while a square hides a part of it.

Zeiler & Fergus 2014, section 4.2 and Fig 7. One sweep gives the probability of every class and the
activity of one feature map at each position of the square. Every position has a forward pass of its
own: nothing of another one is used again, and no position is left out.

The paper does not give the square's size and stride; its published maps are those of 50 pixels and
6 at 224, always inside the picture, with a grey that is about 0 after the mean is subtracted.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.tree_util import Partial

from zfnet_jax.analysis.outputs import Outputs, expect_outputs, to_scores
from zfnet_jax.core import compilation, devices
from zfnet_jax.core.activations import Function, layer_of, output_shapes
from zfnet_jax.core.batches import equal_batches, multiple_of

SIZE, STRIDE = 50 / 224, 6 / 224
"""The paper's square and its steps, as shares of the input's width."""

BATCH = 56
"""Positions at a time; with more of them a CPU was seen to lose time to a growing heap."""


class TopUnit(NamedTuple):
    """A layer's largest activation on a picture; in a dense layer row and column are 0."""

    map: int
    row: int
    col: int
    value: float


class Occlusion(NamedTuple):
    """A network's outputs for a picture at every position of the square.

    Attributes:
      outputs: (rows, cols, classes) float32: probabilities, or the outputs themselves where they
        are declared as values.
      activity: (rows, cols) float32, of one feature map, summed over its positions.
      top_left: (rows, cols, 2) int32, the square's first row and column, in pixels.
      size: the square's width and height, in pixels.
      unoccluded: (classes,) float32, the same with nothing hidden.
      unit: the map, and its top unit with nothing hidden.
    """

    outputs: np.ndarray
    activity: np.ndarray
    top_left: np.ndarray
    size: int
    unoccluded: np.ndarray
    unit: TopUnit

    def drop(self, label: int) -> np.ndarray:
        """How much lower a class's output is at each position, (rows, cols) float32."""
        return self.unoccluded[label] - self.outputs[..., label]

    @property
    def most_probable(self) -> np.ndarray:
        """The label of the largest output at each position, (rows, cols) int."""
        return self.outputs.argmax(axis=-1)


def in_proportion(input_size: int, size: float = SIZE, stride: float = STRIDE) -> tuple[int, int]:
    """The size and the stride of a square, by default the paper's, for an input of this width.

    Args:
      input_size: in pixels.
      size: the square's width, as a share of the input's.
      stride: of its steps, likewise.

    Returns:
      Both in pixels, 1 or more.
    """
    return max(1, round(size * input_size)), max(1, round(stride * input_size))


def positions(shape: tuple[int, int], size: int, stride: int) -> np.ndarray:
    """Where the square goes: from the first pixel on, always inside.

    Args:
      shape: height and width of the picture, in pixels.
      size: the square's width and height, in pixels.
      stride: from one position to the next, in pixels.

    Returns:
      (rows, cols, 2) int32, the square's first row and column.

    Raises:
      ValueError: the square is larger than the picture, or a number is below 1.
    """
    if not 1 <= size <= min(shape):
        raise ValueError(f"size {size}: expected 1..{min(shape)}, the square lies in the picture")
    if stride < 1:
        raise ValueError(f"stride {stride}: expected 1 or more")
    rows, cols = (np.arange(0, length - size + 1, stride, dtype=np.int32) for length in shape)
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1)


def occlude(
    function: Function,
    image: Any,
    layer: str,
    *,
    size: int,
    stride: int,
    value: float = 0.0,
    map_number: int | None = None,
    outputs: Outputs = "logits",
    batch_size: int = BATCH,
) -> Occlusion:
    """Slides a square over a picture.

    Zeiler & Fergus 2014, section 4.2. The masked pictures are made on the devices of this process,
    a batch at a time; what stays is the result.

    Args:
      function: network-space images, (N, H, W, C) -> (outputs, activations), of any network, not
        compiled; as for `mining.mine`.
      image: (H, W, C) float, network space.
      layer: the name of the layer that the map belongs to.
      size: the square's width and height, in pixels.
      stride: from one position to the next, in pixels.
      value: of the pixels in the square, network space.
      map_number: the map; None for the one that holds the layer's largest activation when nothing
        is hidden.
      outputs: what the function's outputs, (N, classes), are: "logits", of which the softmax is
        taken, "probabilities", or "values" of any other kind.
      batch_size: how many positions are seen at a time, at most, but for a multiple of the devices.

    Returns:
      The outputs and the map's activity at every position.

    Raises:
      ValueError: the square is not one for this picture; there is no such layer or map, or its
        activations are no feature maps; the outputs are not what they are declared to be.
    """
    top_left = positions(image.shape[:2], size, stride)
    mesh = devices.make_mesh().local_mesh
    network = function if isinstance(function, Partial) else Partial(function)
    network, image = jax.device_put((network, jnp.asarray(image)), devices.replicated(mesh))
    _expect_map(function, image, layer, map_number)
    find_top_unit, sweep = _compiled(mesh, layer, outputs)
    number = -1 if map_number is None else map_number
    returned, channel, row, col, activation = jax.tree.map(
        np.asarray, find_top_unit(network, image, number)
    )
    expect_outputs(returned, outputs)
    unit = TopUnit(int(channel), int(row), int(col), float(activation))
    # Last a square outside the picture: computed by the same program, what is unoccluded differs
    # from the rest by what is hidden and not by rounding.
    corners = np.concatenate([top_left.reshape(-1, 2), np.array([image.shape[:2]], np.int32)])
    batches = -(-len(corners) // batch_size)
    length = multiple_of(-(-len(corners) // batches), mesh.size)
    parts = [
        jax.tree.map(np.asarray, sweep(network, image, corners[numbers], size, value, unit.map))
        for numbers, _ in equal_batches(len(corners), length)
    ]
    scores, activity = (
        np.concatenate(column)[: len(corners)] for column in zip(*parts, strict=True)
    )
    grid = top_left.shape[:2]
    return Occlusion(
        outputs=scores[:-1].reshape(*grid, -1),
        activity=activity[:-1].reshape(grid),
        top_left=top_left,
        size=size,
        unoccluded=scores[-1],
        unit=unit,
    )


@functools.cache
def _compiled(
    mesh: Mesh, layer: str, outputs: Outputs
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The outputs and the top unit of the whole picture, and the sweep over one batch."""

    def find_top_unit(function: Function, image: Array, map_number: Array) -> tuple[Array, ...]:
        returned, activations = function(image[None])
        maps = activations[layer]
        maps = maps[0] if maps.ndim == 4 else maps[:, None]
        allowed = (map_number < 0) | (map_number == jnp.arange(maps.shape[-1]))
        flat = jnp.where(allowed, maps, -jnp.inf).argmax()
        row, col, number = jnp.unravel_index(flat, maps.shape)
        return returned, number, row, col, maps.ravel()[flat]

    def sweep(
        function: Function,
        image: Array,
        corners: Array,
        size: Array,
        value: Array,
        map_number: Array,
    ) -> tuple[Array, Array]:
        returned, activations = function(_hidden(image, corners, size, value))
        maps = activations[layer][..., map_number]
        return to_scores(returned, outputs), maps.reshape(len(corners), -1).sum(axis=1)

    replicated, by_example = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(find_top_unit, out_shardings=replicated), compilation.jit(
        sweep,
        many_products=True,
        in_shardings=(replicated, replicated, by_example, *[replicated] * 3),
        out_shardings=by_example,
    )


def _hidden(image: Array, corners: Array, size: Array, value: Array) -> Array:
    """The image with the square at each corner, (N, H, W, C)."""
    inside = [
        (corners[:, axis, None] <= pixels) & (pixels < corners[:, axis, None] + size)
        for axis, pixels in enumerate(map(jnp.arange, image.shape[:2]))
    ]
    square = inside[0][:, :, None] & inside[1][:, None, :]
    return jnp.where(square[..., None], jnp.asarray(value, image.dtype), image)


def _expect_map(function: Function, image: Array, layer: str, map_number: int | None) -> None:
    _, activations = output_shapes(function, image[None])
    channels = layer_of(activations, layer).shape[-1]
    if map_number is not None and not 0 <= map_number < channels:
        raise ValueError(
            f"map {map_number}: expected 0..{channels - 1}, {layer} has {channels} maps"
        )
