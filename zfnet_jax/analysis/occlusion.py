"""What a net says of a picture while a square hides a part of it.

Zeiler & Fergus 2014, section 4.2 and Fig 7. One sweep gives the probability of every class and the
activity of one feature map at each position of the square. Every position is a forward pass of its
own: nothing of the whole picture's is used again, and no position is left out.

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

from zfnet_jax.core import compilation, devices
from zfnet_jax.features.mining import Function

SIZE, STRIDE = 50 / 224, 6 / 224
"""The paper's square and its steps, as shares of the input's width."""

BATCH = 56
"""Positions at a time; with more of them a CPU was seen to lose time to a growing heap."""


class TopUnit(NamedTuple):
    """A layer's unit that responds most to a picture; in a dense layer row and column are 0."""

    map: int
    row: int
    col: int
    value: float


class Occlusion(NamedTuple):
    """What a net says of a picture at every position of the square.

    Attributes:
      outputs: (rows, cols, classes) float32.
      activity: (rows, cols) float32, of one feature map, summed over its positions.
      top_left: (rows, cols, 2) int32, the square's first row and column, in pixels.
      size: the square's width and height, in pixels.
      unoccluded: (classes,) float32, the probabilities with nothing hidden.
      unit: the map, and its strongest unit with nothing hidden.
    """

    outputs: np.ndarray
    activity: np.ndarray
    top_left: np.ndarray
    size: int
    unoccluded: np.ndarray
    unit: TopUnit

    def drop(self, label: int) -> np.ndarray:
        """How much of a class's probability is lost at each position, (rows, cols) float32."""
        return self.unoccluded[label] - self.outputs[..., label]

    @property
    def most_probable(self) -> np.ndarray:
        """The label of the largest probability at each position, (rows, cols) int."""
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
    batch_size: int = BATCH,
) -> Occlusion:
    """Slides a square over a picture.

    Zeiler & Fergus 2014, section 4.2. The masked pictures are made on the devices of this process,
    a batch at a time; what stays is the result.

    Args:
      function: network-space images, (N, H, W, C) -> (logits, activations), of any network, not
        compiled; as for `mining.mine`.
      image: (H, W, C) float, network space.
      layer: the name of the layer that the map belongs to.
      size: the square's width and height, in pixels.
      stride: from one position to the next, in pixels.
      value: of the pixels in the square, network space.
      map_number: the map; None for the one that holds the layer's strongest unit when nothing is
        hidden.
      batch_size: how many positions are seen at a time, at most, but for a multiple of the devices.

    Returns:
      The probabilities and the map's activity at every position.

    Raises:
      ValueError: the square is not one for this picture; there is no such layer or map.
    """
    top_left = positions(image.shape[:2], size, stride)
    mesh = devices.make_mesh().local_mesh
    given = function if isinstance(function, Partial) else Partial(function)
    given, image = jax.device_put((given, jnp.asarray(image)), devices.replicated(mesh))
    _expect_map(function, image, layer, map_number)
    find, sweep = _compiled(mesh, layer)
    chosen, row, col, strongest = find(given, image, -1 if map_number is None else map_number)
    # Last a square outside the picture: seen by the same program, what is whole differs from the
    # rest by what is hidden and not by rounding.
    corners = np.concatenate([top_left.reshape(-1, 2), np.array([image.shape[:2]], np.int32)])
    parts = [
        jax.tree.map(np.asarray, sweep(given, image, batch, size, value, chosen))
        for batch in _batches(corners, batch_size, mesh.size)
    ]
    probability, activity = (
        np.concatenate(column)[: len(corners)] for column in zip(*parts, strict=True)
    )
    grid = top_left.shape[:2]
    return Occlusion(
        probability[:-1].reshape(*grid, -1),
        activity[:-1].reshape(grid),
        top_left,
        size,
        probability[-1],
        TopUnit(int(chosen), int(row), int(col), float(strongest)),
    )


@functools.cache
def _compiled(mesh: Mesh, layer: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The strongest unit of the whole picture, and what is seen of one batch of positions."""

    def find(function: Function, image: Array, map_number: Array) -> tuple[Array, ...]:
        _, activations = function(image[None])
        maps = activations[layer]
        maps = maps[0] if maps.ndim == 4 else maps[:, None]
        allowed = (map_number < 0) | (map_number == jnp.arange(maps.shape[-1]))
        flat = jnp.where(allowed, maps, -jnp.inf).argmax()
        row, col, chosen = jnp.unravel_index(flat, maps.shape)
        return chosen, row, col, maps.ravel()[flat]

    def sweep(
        function: Function,
        image: Array,
        corners: Array,
        size: Array,
        value: Array,
        map_number: Array,
    ) -> tuple[Array, Array]:
        outputs, activations = function(_hidden(image, corners, size, value))
        maps = activations[layer][..., map_number]
        return jax.nn.softmax(outputs), maps.reshape(len(corners), -1).sum(axis=1)

    whole, cut = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(find, out_shardings=whole), compilation.jit(
        sweep,
        many_products=True,
        in_shardings=(whole, whole, cut, whole, whole, whole),
        out_shardings=cut,
    )


def _hidden(image: Array, corners: Array, size: Array, value: Array) -> Array:
    """The image with the square at each corner, (N, H, W, C)."""
    inside = [
        (corners[:, axis, None] <= places) & (places < corners[:, axis, None] + size)
        for axis, places in enumerate(map(jnp.arange, image.shape[:2]))
    ]
    square = inside[0][:, :, None] & inside[1][:, None, :]
    return jnp.where(square[..., None], jnp.asarray(value, image.dtype), image)


def _batches(corners: np.ndarray, batch_size: int, devices: int) -> list[np.ndarray]:
    """Batches of one length, as even as they can be; the last repeats its last corner."""
    count = -(-len(corners) // batch_size)
    length = -(-len(corners) // (count * devices)) * devices
    places = np.arange(-(-len(corners) // length) * length).clip(max=len(corners) - 1)
    return list(corners[places].reshape(-1, length, 2))


def _expect_map(function: Function, image: Array, layer: str, map_number: int | None) -> None:
    _, activations = jax.eval_shape(function, image[None])
    if layer not in activations:
        raise ValueError(f"layer {layer!r}: expected one of {', '.join(activations)}")
    width = activations[layer].shape[-1]
    if map_number is not None and not 0 <= map_number < width:
        raise ValueError(f"map {map_number}: expected 0..{width - 1}, {layer} has {width} maps")


def per_pixel_mean(
    values: np.ndarray, top_left: np.ndarray, size: int, shape: tuple[int, int]
) -> np.ndarray:
    """The mean over the squares that cover a pixel, as Captum's `Occlusion` gives it.

    Args:
      values: (rows, cols) float, a value for each position, such as the drop of a probability.
      top_left: (rows, cols, 2) int, the positions.
      size: the square's width and height, in pixels.
      shape: height and width of the picture.

    Returns:
      (H, W) float64; NaN where no square comes.
    """
    total, count = np.zeros(shape), np.zeros(shape)
    for value, (top, left) in zip(values.ravel(), top_left.reshape(-1, 2), strict=True):
        total[top : top + size, left : left + size] += value
        count[top : top + size, left : left + size] += 1
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def place_of_largest(values: np.ndarray) -> tuple[int, int]:
    """The row and column of the largest value, of equal ones the first."""
    row, col = np.unravel_index(values.argmax(), values.shape)
    return int(row), int(col)


def hidden_area(mask: np.ndarray, top_left: np.ndarray, size: int) -> np.ndarray:
    """How many pixels of an object each square hides.

    Args:
      mask: (H, W) bool, the object.
      top_left: (rows, cols, 2) int, the positions.
      size: the square's width and height, in pixels.

    Returns:
      (rows, cols) int.
    """
    sums = np.pad(mask.astype(int), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    top, left = top_left[..., 0], top_left[..., 1]
    below, right = top + size, left + size
    return sums[below, right] - sums[top, right] - sums[below, left] + sums[top, left]


def points_at(mask: np.ndarray, corner: np.ndarray, size: int) -> bool:
    """Whether a square's centre, of an even size the pixel after it, is in a mask (H, W) bool."""
    top, left = np.asarray(corner) + size // 2
    return bool(mask[top, left])


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two maps of one shape; 0 where one of them is constant."""
    a, b = (values.astype(float) - values.mean(dtype=float) for values in (one, other))
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
