"""How far features change when their picture is translated, scaled or rotated.

Zeiler & Fergus 2014, section 4.1 and Fig 5 (v3 only): the distance between the features of the
original and of the transformed picture, at the first layer and at layer 7, and the probability of
the true label. The paper does not say how the distance is scaled, what the steps are, or what
fills the edges. Here the distance is given both ways, the caller chooses the steps, and the edges
are 0 in network space, which is the mean picture.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.tree_util import Partial
from tqdm import tqdm

from zfnet_jax.analysis.affine import IDENTITY, warp
from zfnet_jax.analysis.outputs import Outputs, expect_outputs, to_scores
from zfnet_jax.core import compilation, devices
from zfnet_jax.core.activations import Function, layer_of, output_shapes
from zfnet_jax.core.batches import equal_batches, multiple_of
from zfnet_jax.core.pixels import raw_to_pixels
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import corners
from zfnet_jax.networks.function import network, network_input
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
"""How many pictures of an image set are transformed together."""


def default_values(size: int) -> dict[str, np.ndarray]:
    """The paper's ranges: pixels in proportion to the input's size, factors, and degrees."""
    shift = PAPER_SHIFT * size / PAPER_SIZE
    return {
        "translation": np.linspace(-shift, shift, STEPS),
        "scale": np.linspace(1, 1.8, STEPS),
        "rotation": np.linspace(0, 350, TURNS),
    }


def default_layers(arch: Architecture) -> tuple[str, str]:
    """The paper's layers 1 and 7: the first convolution and the one below the logits."""
    first = next(layer.name for layer in arch if isinstance(layer, Conv))
    return first, arch.layers[-2].name


class Responses(NamedTuple):
    """A network's responses to N pictures under T transformations.

    Attributes:
      distance: by layer, (N, T) float32, Euclidean, from the features of the original.
      norm: by layer, (N,) float32, of the original's features.
      probability: (N, T) float32, of each picture's label; its output where the outputs are
        declared as values.
    """

    distance: dict[str, np.ndarray]
    norm: dict[str, np.ndarray]
    probability: np.ndarray

    def relative(self, layer: str) -> np.ndarray:
        """The distances as shares of the original's norm, (N, T); NaN where that is 0."""
        norm = self.norm[layer][:, None]
        return self.distance[layer] / np.where(norm > 0, norm, np.nan)

    def columns(self, part: slice) -> "Responses":
        """The responses to some of the transformations."""
        distance = {layer: values[:, part] for layer, values in self.distance.items()}
        return Responses(distance, self.norm, self.probability[:, part])


def respond(
    function: Function,
    images: Any,
    labels: Sequence[int] | np.ndarray,
    transforms: np.ndarray,
    layers: Sequence[str],
    *,
    outputs: Outputs = "logits",
    batch_size: int = 32,
) -> Responses:
    """Compares the features of transformed pictures with those of the originals.

    One compiled function transforms pictures, runs the network and measures; memory holds one such
    batch, and the originals' features of `images`. The originals go through it as one more
    transformation, so that the distance at the identity is 0; where a back end adds up in another
    order at another place of a batch, 0 to rounding.

    Args:
      function: network-space images -> (outputs, activations), of any network, not compiled; as a
        `jax.tree_util.Partial` it takes its parameters along as arguments.
      images: (N, H, W, C) float32, network space; give more than a batch of them in groups.
      labels: (N,) int, the output whose probability is asked for.
      transforms: affine, (T, 2, 3) float32.
      layers: the layers' names.
      outputs: what the function's outputs, (N, classes), are: "logits", of which the softmax is
        taken, "probabilities", or "values" of any other kind.
      batch_size: about how many transformed pictures are processed at once.

    Returns:
      The distances and probabilities.

    Raises:
      ValueError: there is no such layer or label; the layer's activations are no feature maps; the
        outputs are not what they are declared to be.
    """
    mesh = devices.make_mesh().local_mesh
    network = function if isinstance(function, Partial) else Partial(function)
    returned, activations = output_shapes(network, images)
    originals = {
        name: np.zeros((len(images), math.prod(layer_of(activations, name).shape[1:])), np.float32)
        for name in layers
    }
    for label in labels:
        if not 0 <= label < returned.shape[-1]:
            raise ValueError(f"label {label}: expected 0..{returned.shape[-1] - 1}")
    with_identity = np.concatenate([IDENTITY[None], np.asarray(transforms, np.float32)])
    arguments = network, images, np.asarray(labels, np.int32), originals
    step, replicated = _compiled_step(mesh, outputs), devices.replicated(mesh)
    network, images, labels, originals = jax.device_put(arguments, replicated)
    at_once = min(max(1, batch_size // len(images)), len(with_identity))
    parts = []
    for numbers, _ in equal_batches(len(with_identity), multiple_of(at_once, mesh.size)):
        is_first = numbers[0] == 0
        returned, originals, measured = step(
            network, images, labels, with_identity[numbers], originals, is_first
        )
        if is_first:
            expect_outputs(np.asarray(returned), outputs)
        parts.append(jax.tree.map(np.asarray, measured))
    distance, probability = jax.tree.map(
        lambda *arrays: np.concatenate(arrays)[1 : len(with_identity)].T, *parts
    )
    norm = {name: np.linalg.norm(np.asarray(kept), axis=1) for name, kept in originals.items()}
    return Responses(distance, norm, probability)


@functools.cache
def _compiled_step(mesh: Mesh, outputs: Outputs) -> Callable[..., Any]:
    def step(
        function: Function,
        images: Array,
        labels: Array,
        transforms: Array,
        originals: dict[str, Array],
        is_first: Array,
    ) -> tuple[Array, dict[str, Array], tuple[dict[str, Array], Array]]:
        """Some transforms of all pictures: the first one's outputs, the originals, the measures.

        The first transform of all is the identity.
        """
        transformed = warp(images, transforms)
        returned, activations = function(transformed.reshape(-1, *images.shape[1:]))
        layout = len(transforms), len(images), -1
        features = {name: activations[name].reshape(layout) for name in originals}
        originals = {
            name: jnp.where(is_first, features[name][0], kept) for name, kept in originals.items()
        }
        distance = {
            name: jnp.sqrt(jnp.square(features[name] - kept).sum(axis=-1))
            for name, kept in originals.items()
        }
        scores = to_scores(returned, outputs).reshape(layout)
        probability = jnp.take_along_axis(scores, labels[None, :, None], axis=2)[..., 0]
        return returned[: len(images)], originals, (distance, probability)

    replicated, by_example = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(
        step,
        donate_argnums=4,
        in_shardings=(*[replicated] * 3, by_example, replicated, replicated),
        out_shardings=replicated,
    )


def respond_to_image_set(
    net: Net,
    image_set: ImageSet,
    items: np.ndarray,
    labels: np.ndarray,
    transforms: np.ndarray,
    layers: Sequence[str],
    *,
    batch_size: int = 32,
) -> tuple[Responses, np.ndarray]:
    """The responses of a net to pictures of an image set, a few at a time.

    Args:
      net: the net.
      image_set: the pictures; the net sees the centre view of each.
      items: (n,) int, which of them.
      labels: (n,) int, their classes; -1 stands for the class that the net predicts.
      transforms: affine, (T, 2, 3) float32.
      layers: the layers' names.
      batch_size: about how many transformed pictures are processed at once.

    Returns:
      The responses, and the labels, (n,) int, all of them known.
    """
    view, function = network_input(net), network(net)
    classify = compilation.jit(lambda function, images: function(images)[0].argmax(axis=1))
    labels, parts = labels.copy(), []
    groups = list(equal_batches(len(items), min(GROUP, len(items))))
    for numbers, _ in tqdm(groups, "transforming", disable=None, leave=False, unit="group"):
        images = view(image_set.batch(items[numbers]).frames)
        of_group = labels[numbers]
        if (of_group < 0).any():
            of_group = np.where(of_group < 0, classify(function, images), of_group)
        labels[numbers] = of_group
        parts.append(respond(function, images, of_group, transforms, layers, batch_size=batch_size))
    responses: Responses = jax.tree.map(
        lambda *arrays: np.concatenate(arrays)[: len(items)], *parts
    )
    return responses, labels


def transformed_pixels(
    net: Net, image_set: ImageSet, items: np.ndarray, transforms: np.ndarray
) -> np.ndarray:
    """What the net sees of transformed pictures, as raw values.

    Args:
      net: the net.
      image_set: the pictures.
      items: (n,) int, which of them.
      transforms: affine, (T, 2, 3) float32.

    Returns:
      (n, T, size, size, 3) uint8.
    """
    size = net.architecture.input_size
    top, left = corners(net.preprocessing.frame, size)[-1]
    images = network_input(net)(image_set.batch(items).frames)
    transformed = compilation.jit(warp)(images, transforms)
    raw = net.preprocessing.undo(transformed, (int(top), int(left)))
    return raw_to_pixels(np.swapaxes(raw, 0, 1))
