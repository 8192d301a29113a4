"""What a network's function returns: no maps and no pair are refused, everywhere alike."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from zfnet_jax import transform
from zfnet_jax.analysis.affine import translations
from zfnet_jax.analysis.correspondence import features
from zfnet_jax.analysis.invariance import respond
from zfnet_jax.analysis.occlusion import occlude
from zfnet_jax.features.mining import mine
from zfnet_jax.zfnet.units import Units

IMAGES = np.ones((8, 4, 4, 3), np.float32)


def tokens(images: Array) -> tuple[Array, dict[str, Array]]:
    """A transformer's activations: (N, tokens, features)."""
    return images.mean(axis=(1, 2)), {"tokens": images.reshape(len(images), -1, 3)}


CALLS: dict[str, Callable[[Any], Any]] = {
    "mining": lambda function: mine(
        function, [(IMAGES, np.arange(8), np.zeros(8))], ["tokens"], k=1
    ),
    "occlusion": lambda function: occlude(function, IMAGES[0], "tokens", size=2, stride=1),
    "invariance": lambda function: respond(
        function, IMAGES, [0] * 8, translations(np.zeros(1)), ["tokens"]
    ),
    "correspondence": lambda function: features(function, IMAGES, ["tokens"]),
    "transform": lambda function: transform.project_units(
        function, jnp.asarray(IMAGES), "tokens", Units.of([(0, 0, 0, 0, 1.0)])
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_activations_that_are_no_maps_are_refused_with_both_shapes(name: str):
    message = r"layer 'tokens': activations of shape \(\d, 16, 3\), expected .*\(N, rows, cols, C\)"
    with pytest.raises(ValueError, match=message):
        CALLS[name](tokens)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_that_returns_no_pair_is_refused(name: str):
    with pytest.raises(ValueError, match=r"function that returns .*: expected \(outputs, {layer"):
        CALLS[name](lambda images: images.mean(axis=(1, 2)))


@pytest.mark.parametrize("name", CALLS)
def test_a_layer_that_is_not_there_is_refused(name: str):
    with pytest.raises(ValueError, match="layer 'tokens': expected one of maps"):
        CALLS[name](lambda images: (images.mean(axis=(1, 2)), {"maps": images}))
