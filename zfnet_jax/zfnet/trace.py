"""What travels between the forward pass and the deconvnet: parameters and the trace."""

from typing import NamedTuple

from jax import Array

from zfnet_jax.core.summary import summary

Params = dict[str, dict[str, Array]]
"""`{"conv1": {"kernel": HWIO, "bias": O}, ..., "fc6": {"kernel": IO, "bias": O}, ...}`, float32."""


class Trace(NamedTuple):
    """What every layer did with a batch of images: a pytree whose leaves lead with the batch.

    Attributes:
      activations: each layer's output by its name; after the ReLU where the layer has one.
      switches: for each pooling layer the row-major index of the maximum within its window, uint8.
    """

    activations: dict[str, Array]
    switches: dict[str, Array]

    def __repr__(self) -> str:
        return summary(self)
