"""Three blocks of well-known networks with random weights, as JAX functions.

VGG (Simonyan & Zisserman 2015), ResNet (He et al. 2016, batch normalisation as it is after
training) and Inception (Szegedy et al. 2015). `tests/captum_blocks.py` has the same in PyTorch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

Weights = dict[str, tuple[np.ndarray, ...]]

SIZES = {
    "vgg": {"a": (3, 3, 8), "b": (3, 8, 8)},
    "resnet": {"a": (3, 3, 8), "b": (3, 8, 8), "shortcut": (1, 3, 8)},
    "inception": {
        "one": (1, 3, 4),
        "three_in": (1, 3, 4),
        "three": (3, 4, 6),
        "five_in": (1, 3, 2),
        "five": (5, 2, 4),
        "pooled": (1, 3, 3),
    },
}
"""By block and convolution: the filter's size, its inputs, its outputs."""

STRIDES = {"resnet": {"a": 2, "shortcut": 2}}
"""The strides that are not 1."""

SIDE = 12


def weights(block: str) -> Weights:
    """By convolution: kernel HWIO, bias, then scale and shift of a batch normalisation."""
    rng = np.random.default_rng(list(SIZES).index(block))
    return {
        name: tuple(
            np.float32(array)
            for array in (
                rng.normal(0, (2 / (size * size * inputs)) ** 0.5, (size, size, inputs, outputs)),
                rng.normal(0, 0.3, outputs),
                rng.uniform(0.5, 1.5, outputs),
                rng.normal(0, 0.3, outputs),
            )
        )
        for name, (size, inputs, outputs) in SIZES[block].items()
    }


def pictures() -> np.ndarray:
    """Two pictures, (2, SIDE, SIDE, 3) float32."""
    return np.float32(np.random.default_rng(9).normal(size=(2, SIDE, SIDE, 3)))


def _conv(block: str, name: str, x: Array) -> Array:
    kernel, bias, scale, shift = weights(block)[name]
    step, edge = STRIDES.get(block, {}).get(name, 1), len(kernel) // 2
    x = lax.conv_general_dilated(
        x, kernel, (step, step), [(edge, edge)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return (x + bias) * scale + shift if block == "resnet" else x + bias


def vgg(x: Array) -> Array:
    """Two convolutions and a pool."""
    x = jax.nn.relu(_conv("vgg", "a", x))
    x = jax.nn.relu(_conv("vgg", "b", x))
    return nn.max_pool(x, (2, 2), (2, 2))


def resnet(x: Array) -> Array:
    """Two convolutions beside a strided shortcut."""
    inner = _conv("resnet", "b", jax.nn.relu(_conv("resnet", "a", x)))
    return jax.nn.relu(inner + _conv("resnet", "shortcut", x))


def inception(x: Array) -> Array:
    """Four branches, put side by side."""
    padded = [(1, 1)] * 2
    return jnp.concatenate(
        [
            jax.nn.relu(_conv("inception", "one", x)),
            jax.nn.relu(
                _conv("inception", "three", jax.nn.relu(_conv("inception", "three_in", x)))
            ),
            jax.nn.relu(_conv("inception", "five", jax.nn.relu(_conv("inception", "five_in", x)))),
            jax.nn.relu(_conv("inception", "pooled", nn.max_pool(x, (3, 3), (1, 1), padded))),
        ],
        axis=-1,
    )


BLOCKS: dict[str, Callable[[Array], Array]] = {"vgg": vgg, "resnet": resnet, "inception": inception}

UNITS = {"vgg": (3, 2, 5), "resnet": (3, 2, 5), "inception": (6, 5, 13)}
"""By block the row, column and map of the unit that is projected, with a seed of 1."""
