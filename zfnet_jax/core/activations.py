"""What a network's function returns, checked: outputs, and the activations of its layers."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array

from zfnet_jax.core.checked import expect_one_of

Function = Callable[[Any], tuple[Any, Mapping[str, Array]]]
"""images -> (outputs, the activations of the layers by name)."""


def expect_maps(layer: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError where a layer's activations are neither feature maps nor vectors."""
    if len(shape) not in (2, 4):
        raise ValueError(
            f"layer {layer!r}: activations of shape {shape}, expected feature maps "
            "(N, rows, cols, C) or vectors (N, C)"
        )


def layer_of(activations: Mapping[str, Any], layer: str) -> Any:
    """The activations of a layer, or their shape; ValueError where there are no such maps."""
    expect_one_of("layer", layer, activations)
    expect_maps(layer, activations[layer].shape)
    return activations[layer]


def output_shapes(function: Function, images: Any) -> tuple[Any, Mapping[str, Any]]:
    """The shapes of what a network's function returns for some images.

    Args:
      function: of a network, not compiled.
      images: what it is called with, arrays or their shapes.

    Returns:
      The outputs and, by layer, the activations, as `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: the function does not return a pair of outputs and activations by name.
    """
    returned = jax.eval_shape(function, images)
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping):
        return returned
    raise ValueError(
        f"function that returns {jax.tree.map(lambda leaf: leaf.shape, returned)}: expected "
        "(outputs, {layer name: activations})"
    )
