"""How far features move when their picture is moved, enlarged or turned.

Zeiler & Fergus 2014, section 4.1 and Fig 5 (v3 only): the distance between the features of the
original and of the transformed picture, at the first layer and at layer 7, and the probability of
the true label. The paper does not say how the distance is scaled, the steps, or what fills the
edges; here both distances are given, the steps are the caller's, and the edges are 0 in network
space, which is the mean picture.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jax.sharding import Mesh
from jax.tree_util import Partial
from tqdm import tqdm

from zfnet_jax.analysis.network import network
from zfnet_jax.core import compilation, devices
from zfnet_jax.core.pixels import raw_to_pixels
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import corners
from zfnet_jax.features.mining import Function
from zfnet_jax.features.views import network_input
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture, Conv

PAPER_SIZE = 224
"""The input that the paper's translations are for, in pixels."""

PAPER_SHIFT = 60.0
"""How far the paper moves a picture up and down, in pixels of `PAPER_SIZE`."""

STEPS = 41
"""How many translations and scales there are by default: 3 px and 0.02 apart (a choice)."""

TURNS = 36
"""How many rotations: 10 degrees apart (a choice; the paper's go from 0 to 350)."""

GROUP = 8
"""How many pictures of a source are looked at together."""

_IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


def translations(pixels: np.ndarray) -> np.ndarray:
    """Moves down by so many pixels, (T,), negative ones up; maps for `warp`, (T, 2, 3) float32."""
    maps = np.tile(_IDENTITY, (len(pixels), 1, 1))
    maps[:, 0, 2] = -np.asarray(pixels)
    return maps


def scales(factors: np.ndarray) -> np.ndarray:
    """Enlarges about the centre, factors (T,) above 0; maps for `warp`, (T, 2, 3) float32.

    Below 1 a picture becomes smaller and is not smoothed for it.
    """
    return (_IDENTITY / np.asarray(factors, float)[:, None, None]).astype(np.float32)


def rotations(degrees: np.ndarray) -> np.ndarray:
    """Turns counterclockwise about the centre, (T,); maps for `warp`, (T, 2, 3) float32."""
    angles = np.deg2rad(degrees)
    cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    rows = np.stack([cos, sin, zero], -1), np.stack([-sin, cos, zero], -1)
    return np.stack(rows, 1).astype(np.float32)


def default_values(size: int) -> dict[str, np.ndarray]:
    """The paper's ranges: pixels in proportion to the input's size, factors, and degrees."""
    shift = PAPER_SHIFT * size / PAPER_SIZE
    return {
        "translation": np.linspace(-shift, shift, STEPS),
        "scale": np.linspace(1, 1.8, STEPS),
        "rotation": np.linspace(0, 350, TURNS),
    }


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "translation": translations,
    "scale": scales,
    "rotation": rotations,
}
"""From the values of each of the paper's transformations to maps for `warp`."""


def default_layers(arch: Architecture) -> tuple[str, str]:
    """The paper's layers 1 and 7: the first convolution and the one below the logits."""
    first = next(each.name for each in arch if isinstance(each, Conv))
    return first, arch.layers[-2].name


def warp(images: Array, maps: Array) -> Array:
    """Transforms pictures, bilinearly; what comes from outside of them is 0.

    Args:
      images: (N, H, W, C) float.
      maps: (T, 2, 3) float32. A pixel at p = (row, column), from the picture's centre, is taken
        from `map[:, :2] @ p + map[:, 2]`. The identity gives the very same picture.

    Returns:
      (T, N, H, W, C).
    """
    middle = [(side - 1) / 2 for side in images.shape[1:3]]
    rows, cols = (jnp.arange(side) - m for side, m in zip(images.shape[1:3], middle, strict=True))

    def one(a: Array) -> Array:
        # Not as a product of matrices, which an accelerator rounds.
        places = [
            a[axis, 0] * rows[:, None] + a[axis, 1] * cols + a[axis, 2] + middle[axis]
            for axis in (0, 1)
        ]
        plane = functools.partial(map_coordinates, coordinates=places, order=1, mode="constant")
        return jax.vmap(jax.vmap(plane, -1, -1))(images)

    return jax.vmap(one)(maps)


class Responses(NamedTuple):
    """What a net makes of N pictures under T transformations.

    Attributes:
      distance: by layer, (N, T) float32, Euclidean, from the features of the original.
      norm: by layer, (N,) float32, of the original's features.
      probability: (N, T) float32, of each picture's label.
    """

    distance: dict[str, np.ndarray]
    norm: dict[str, np.ndarray]
    probability: np.ndarray

    def relative(self, layer: str) -> np.ndarray:
        """The distances as shares of the original's norm, (N, T); NaN where that is 0."""
        norm = self.norm[layer][:, None]
        return self.distance[layer] / np.where(norm > 0, norm, np.nan)

    def columns(self, part: slice) -> "Responses":
        """Those to some of the transformations."""
        distance = {layer: each[:, part] for layer, each in self.distance.items()}
        return Responses(distance, self.norm, self.probability[:, part])


def respond(
    function: Function,
    images: Any,
    labels: Sequence[int] | np.ndarray,
    maps: np.ndarray,
    layers: Sequence[str],
    *,
    batch_size: int = 32,
) -> Responses:
    """Compares the features of transformed pictures with those of the originals.

    One compiled function transforms some pictures in some ways, runs the net and measures; memory
    holds one such batch, and the originals' features of `images`. The originals go through it as
    one more transformation, so that the distance at the identity is 0; where a back end adds up in
    another order at another place of a batch, 0 to rounding.

    Args:
      function: network-space images -> (logits, activations), of any network, not compiled; as a
        `jax.tree_util.Partial` it takes its parameters along as arguments.
      images: (N, H, W, C) float32, network space; more than a batch of them at best in groups.
      labels: (N,) int, which logit's probability is asked for.
      maps: (T, 2, 3) float32, as for `warp`.
      layers: the layers' names.
      batch_size: about how many transformed pictures are seen at once.

    Returns:
      The distances and probabilities.

    Raises:
      ValueError: there is no such layer or label.
    """
    mesh = devices.make_mesh().local_mesh
    given = function if isinstance(function, Partial) else Partial(function)
    logits, activations = jax.eval_shape(given, images)
    originals = {}
    for name in layers:
        if name not in activations:
            raise ValueError(f"layer {name!r}: expected one of {', '.join(activations)}")
        size = math.prod(activations[name].shape[1:])
        originals[name] = np.zeros((len(images), size), np.float32)
    wrong = [label for label in labels if not 0 <= label < logits.shape[-1]]
    if wrong:
        raise ValueError(f"label {wrong[0]}: expected 0..{logits.shape[-1] - 1}")
    step, whole = _compiled_step(mesh), devices.replicated(mesh)
    every = np.concatenate([_IDENTITY[None], np.asarray(maps, np.float32)])
    fixed = given, images, np.asarray(labels, np.int32)
    given, images, labels, originals = jax.device_put((*fixed, originals), whole)
    at_once = -(-min(max(1, batch_size // len(images)), len(every)) // mesh.size) * mesh.size
    found = []
    for start in range(0, len(every), at_once):
        # The last batch repeats its last transformation, so that there is one shape to compile.
        places = np.arange(start, start + at_once).clip(max=len(every) - 1)
        measured, originals = step(given, images, labels, every[places], originals, start == 0)
        found.append(jax.tree.map(np.asarray, measured))
    distance, probability = jax.tree.map(
        lambda *parts: np.concatenate(parts)[1 : len(every)].T, *found
    )
    norm = {name: np.linalg.norm(np.asarray(each), axis=1) for name, each in originals.items()}
    return Responses(distance, norm, probability)


@functools.cache
def _compiled_step(mesh: Mesh) -> Callable[..., Any]:
    def step(
        function: Function,
        images: Array,
        labels: Array,
        maps: Array,
        originals: dict[str, Array],
        is_first: Array,
    ) -> tuple[tuple[dict[str, Array], Array], dict[str, Array]]:
        """Some transformations of all pictures; the first of all is the identity."""
        moved = warp(images, maps)
        logits, activations = function(moved.reshape(-1, *images.shape[1:]))
        layout = len(maps), len(images), -1
        features = {name: activations[name].reshape(layout) for name in originals}
        originals = {
            name: jnp.where(is_first, features[name][0], kept) for name, kept in originals.items()
        }
        distance = {
            name: jnp.sqrt(jnp.square(features[name] - kept).sum(axis=-1))
            for name, kept in originals.items()
        }
        shares = jax.nn.softmax(logits).reshape(layout)
        probability = jnp.take_along_axis(shares, labels[None, :, None], axis=2)[..., 0]
        return (distance, probability), originals

    whole, cut = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(
        step,
        donate_argnums=4,
        in_shardings=(whole, whole, whole, cut, whole, whole),
        out_shardings=whole,
    )


def respond_to_image_set(
    net: Net,
    frames: ImageSet,
    items: np.ndarray,
    labels: np.ndarray,
    maps: np.ndarray,
    layers: Sequence[str],
    *,
    batch_size: int = 32,
) -> tuple[Responses, np.ndarray]:
    """The responses of a net to pictures of a source, a few at a time.

    Args:
      net: the net.
      frames: the pictures, each seen through the centre view.
      items: (n,) int, which of them.
      labels: (n,) int, their classes; -1 stands for what the net takes the original for.
      maps: (T, 2, 3) float32, as for `warp`.
      layers: the layers' names.
      batch_size: about how many transformed pictures are seen at once.

    Returns:
      The responses, and the labels, (n,) int, all of them known.
    """
    view, function = network_input(net), network(net)
    classify = compilation.jit(lambda function, images: function(images)[0].argmax(axis=1))
    size, labels, found = min(GROUP, len(items)), labels.copy(), []
    starts = range(0, len(items), size)
    for start in tqdm(starts, "transforming", disable=None, leave=False, unit="group"):
        # The last group repeats its last picture, so that there is one shape to compile.
        places = np.arange(start, start + size).clip(max=len(items) - 1)
        images = view(frames.batch(items[places]).frames)
        given = labels[places]
        if (given < 0).any():
            given = np.where(given < 0, classify(function, images), given)
        labels[places] = given
        found.append(respond(function, images, given, maps, layers, batch_size=batch_size))
    whole: Responses = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(items)], *found)
    return whole, labels


def transformed(net: Net, frames: ImageSet, items: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """What the net sees of some pictures, as raw values; (n, T, size, size, 3) uint8.

    Args:
      net: the net.
      frames: the pictures.
      items: (n,) int, which of them.
      maps: (T, 2, 3) float32, as for `warp`.
    """
    size = net.architecture.input_size
    top, left = corners(net.preprocessing.frame, size)[-1]
    moved = compilation.jit(warp)(network_input(net)(frames.batch(items).frames), maps)
    raw = net.preprocessing.undo(moved, (int(top), int(left)))
    return raw_to_pixels(np.swapaxes(raw, 0, 1))
