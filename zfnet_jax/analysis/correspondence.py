"""Whether a net knows that two pictures show the same part.

Zeiler & Fergus 2014, section 4.3 and Table 1 (v3 only): the same part is hidden in several
pictures. Features x become x', and where the signs of e = x - x' agree between pictures, hiding
the part did the same to both. The measure is the fraction of signs that differ, over all pairs;
lower is more consistent. The printed numbers are fractions, and a sign is -1, 0 or 1 (choices).
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.tree_util import Partial

from zfnet_jax.core import compilation, devices
from zfnet_jax.core.activations import Function, layer_of, output_shapes
from zfnet_jax.core.batches import equal_batches, multiple_of
from zfnet_jax.zfnet.architecture import Architecture, Conv


class Consistency(NamedTuple):
    """How consistently a layer's features change when something is hidden.

    Attributes:
      mean: the mean fraction of differing signs over pairs of pictures.
      std: its standard deviation over them.
      pairs: how many pairs there were.
      chance: the mean to be expected if each picture's signs were permuted over the units at
        random: it grows with the number of units that change, which differs between places.
    """

    mean: float
    std: float
    pairs: int
    chance: float


def default_layers(arch: Architecture) -> tuple[str, str]:
    """The paper's layers 5 and 7: the last convolution and the one below the logits."""
    last = [layer.name for layer in arch if isinstance(layer, Conv)][-1]
    return last, arch.layers[-2].name


def features(
    function: Function, images: np.ndarray, layers: Sequence[str], *, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """The features of some images.

    Two calls with as many images run the same program on the same rows, so that units which do not
    see a difference between them are equal to the last bit.

    Args:
      function: network-space images -> (outputs, activations), of any network, not compiled.
      images: (N, H, W, C) float32.
      layers: the layers' names.
      batch_size: images at a time.

    Returns:
      By layer, (N, D) float32.

    Raises:
      ValueError: there is no such layer, or its activations are no feature maps.
    """
    mesh = devices.make_mesh().local_mesh
    network = function if isinstance(function, Partial) else Partial(function)
    _, activations = output_shapes(network, images)
    for layer in layers:
        layer_of(activations, layer)
    features_of = _compiled(mesh, tuple(layers))
    network = jax.device_put(network, devices.replicated(mesh))
    size = multiple_of(min(batch_size, len(images)), mesh.size)
    parts = [
        jax.tree.map(
            np.asarray,
            features_of(network, jax.device_put(images[rows], devices.by_example(mesh))),
        )
        for rows, _ in equal_batches(len(images), size)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *parts)


@functools.cache
def _compiled(mesh: Mesh, layers: tuple[str, ...]) -> Callable[..., dict[str, Array]]:
    def features_of(function: Function, images: Array) -> dict[str, Array]:
        _, activations = function(images)
        return {name: activations[name].reshape(len(images), -1) for name in layers}

    replicated, by_example = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(
        features_of, in_shardings=(replicated, by_example), out_shardings=by_example
    )


def signs(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The signs of the change when something is hidden, (N, D) int8 in -1, 0, 1."""
    return np.sign(before - after).astype(np.int8)


def differing(signs: np.ndarray) -> np.ndarray:
    """The fraction of differing signs of every pair of N pictures.

    Args:
      signs: (N, D).

    Returns:
      (N (N - 1) / 2,) float64: the pairs (0, 1), (0, 2), ..., (1, 2), ...
    """
    rows = [(signs[row] != signs[row + 1 :]).mean(axis=1) for row in range(len(signs) - 1)]
    return np.concatenate(rows)


def by_chance(signs: np.ndarray) -> np.ndarray:
    """The expected value of `differing` if each row of signs, (N, D), were permuted at random."""
    shares = np.stack([(signs == sign).mean(axis=1) for sign in (-1, 0, 1)], axis=1)
    first, second = np.triu_indices(len(signs), 1)
    return 1 - (shares[first] * shares[second]).sum(axis=1)


def consistency(
    function: Function,
    images: np.ndarray,
    hidden: Mapping[str, Iterable[np.ndarray]],
    layers: Sequence[str],
    *,
    batch_size: int = 32,
) -> dict[str, dict[str, Consistency]]:
    """Hides something in every picture, and compares how the features change between pictures.

    Args:
      function: network-space images -> (outputs, activations), of any network, not compiled.
      images: (N, H, W, C) float32, network space; N at least 2.
      hidden: by name, masks (N, H, W) bool, true where a picture becomes 0; one or several sets of
        them. The pairs of all sets count together; pictures of different sets are not compared.
      layers: the layers' names.
      batch_size: images at a time.

    Returns:
      By name and layer, the consistency.

    Raises:
      ValueError: there is one image only, or no such layer, or its activations are no feature
        maps.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} image: expected 2 or more, to compare them")
    before = features(function, images, layers, batch_size=batch_size)
    table = {}
    for name, sets in hidden.items():
        changes: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
        for masks in sets:
            changed = np.where(masks[..., None], np.float32(0), images)
            after = features(function, changed, layers, batch_size=batch_size)
            for layer in layers:
                changes[layer].append(signs(before[layer], after[layer]))
        table[name] = {layer: _summary(of_layer) for layer, of_layer in changes.items()}
    return table


def _summary(sets: Sequence[np.ndarray]) -> Consistency:
    """The consistency over one or several sets of signs, (N, D)."""
    pairs = np.concatenate([differing(signs) for signs in sets])
    chance = np.concatenate([by_chance(signs) for signs in sets])
    return Consistency(float(pairs.mean()), float(pairs.std()), len(pairs), float(chance.mean()))


def box_mask(box: Sequence[Any], size: int) -> np.ndarray:
    """A box, (top, left, height, width) in whole pixels, as a mask, (size, size) bool."""
    top, left, height, width = map(int, box)
    mask = np.zeros((size, size), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The (top, left, height, width) of the true pixels of a mask, which has at least one."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], cols[0], rows[-1] + 1 - rows[0], cols[-1] + 1 - cols[0]


def other_places(mask: np.ndarray) -> np.ndarray:
    """Where a mask's bounding box fits into the picture without overlapping its own place.

    Returns:
      (P, 2) int, the rows and columns of its top left corner.
    """
    top, left, height, width = bounding_box(mask)
    rows, cols = (
        np.arange(side + 1 - extent)
        for side, extent in zip(mask.shape, (height, width), strict=True)
    )
    apart = (abs(rows - top) >= height)[:, None] | (abs(cols - left) >= width)
    return np.argwhere(apart)


def expect_other_place(mask: np.ndarray) -> None:
    """Raises ValueError where a mask's bounding box fits nowhere else into the picture."""
    if not len(other_places(mask)):
        _, _, height, width = bounding_box(mask)
        raise ValueError(
            f"{width} x {height} of the net's {mask.shape[1]} x {mask.shape[0]} pixels: expected a "
            "part small enough for a place beside it"
        )


def elsewhere(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask moved to one of its `other_places`, drawn at random; ValueError if there is none."""
    expect_other_place(mask)
    top, left, height, width = bounding_box(mask)
    places = other_places(mask)
    row, col = places[rng.integers(len(places))]
    moved = np.zeros_like(mask)
    moved[row : row + height, col : col + width] = mask[top : top + height, left : left + width]
    return moved


def at_random(masks: np.ndarray, count: int, seed: int) -> Iterable[np.ndarray]:
    """Sets of masks, (N, H, W) bool, each at a random other place in its picture."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.stack([elsewhere(mask, rng) for mask in masks])
