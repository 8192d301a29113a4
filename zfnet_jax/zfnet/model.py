"""The forward pass, and ZFNet, a thin Linen module around it."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array

from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.architecture import (
    CHANNELS,
    Architecture,
    ContrastNorm,
    Conv,
    Dense,
    Layer,
    MaxPool,
    pads,
)
from zfnet_jax.zfnet.contrast_norm import contrast_norm
from zfnet_jax.zfnet.trace import Params, Trace

__all__ = ["Init", "Trace", "ZFNet", "forward"]

Init = Literal["paper", "he"]


class ZFNet(nn.Module):
    """The network of Zeiler & Fergus 2014, Fig 3, or any other `Architecture`.

    Attributes:
      arch: the layers.
      num_classes: how many logits.
      dtype: the type of the computation; parameters and logits are float32.
      initializer: "paper", every weight from a Gaussian of standard deviation 0.01 (section 3); or
        "he", of He et al. 2015, with the last layer at 0.01.
      input_standard_deviation: of network-space pixels; "he" divides the first layer's weights by
        it, "paper" does not use it.
    """

    arch: Architecture
    num_classes: int
    dtype: Dtype = jnp.float32
    initializer: Init = "paper"
    input_standard_deviation: float = 1.0

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> tuple[Array, Trace]:
        """Runs the network.

        Args:
          images: (N, size, size, 3) float, network space.
          train: whether dropout is on; it takes its key from the "dropout" stream.

        Returns:
          The logits, (N, num_classes) float32, and the trace.

        Raises:
          ValueError: the images are not of the architecture's size.
        """
        kernels = self.arch.kernel_shapes(self.num_classes)
        params = {
            layer.name: self._weights(layer, kernels[layer.name])
            for layer in self.arch
            if isinstance(layer, Conv | Dense)
        }

        def drop(x: Array, rate: float) -> Array:
            return nn.Dropout(rate, deterministic=not train)(x)

        return forward(self.arch, params, images, dtype=self.dtype, drop=drop)

    def _weights(self, layer: Conv | Dense, shape: tuple[int, ...]) -> dict[str, Array]:
        kernel, bias = _Affine(shape, self._standard_deviation(layer, shape), name=layer.name)()
        return {"kernel": kernel, "bias": bias}

    def _standard_deviation(self, layer: Layer, shape: tuple[int, ...]) -> float:
        weighted = [other.name for other in self.arch if isinstance(other, Conv | Dense)]
        if self.initializer == "paper" or layer.name == weighted[-1]:
            return 0.01
        fan_in = math.prod(shape[:-1])
        he = (2 / fan_in) ** 0.5
        return he / self.input_standard_deviation if layer.name == weighted[0] else he


class _Affine(nn.Module):
    """The kernel and bias of one layer: a Gaussian of one standard deviation, and zeros."""

    shape: tuple[int, ...]
    standard_deviation: float

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        kernel = self.param("kernel", nn.initializers.normal(self.standard_deviation), self.shape)
        bias = self.param("bias", nn.initializers.zeros, self.shape[-1:])
        return kernel, bias


def forward(
    arch: Architecture,
    params: Params,
    images: Array,
    *,
    dtype: Dtype = jnp.float32,
    conv: Callable[..., Array] = ops.conv,
    drop: Callable[[Array, float], Array] = lambda x, rate: x,
) -> tuple[Array, Trace]:
    """The forward pass of an architecture, without dropout by default.

    Args:
      arch: the layers.
      params: of every convolution and dense layer.
      images: (N, size, size, 3) float, network space.
      dtype: the type of the computation.
      conv: what a convolution is done with; it is called as `ops.conv`, with the layer's kernel.
      drop: (activations, rate) -> activations, called after each layer that has dropout.

    Returns:
      The logits, (N, num_classes) float32, and the trace.

    Raises:
      ValueError: the images are not of the architecture's size.
    """
    size = arch.input_size
    if images.shape[1:] != (size, size, CHANNELS):
        raise ValueError(
            f"images of shape {images.shape}: expected (N, {size}, {size}, {CHANNELS})"
        )
    params, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, images))
    trace = Trace({}, {})
    for layer in arch:
        match layer:
            case Conv():
                kernel, bias = params[layer.name]["kernel"], params[layer.name]["bias"]
                x = conv(x, kernel, stride=layer.stride, pads=pads(layer, *x.shape[1:3]))
                x = nn.relu(x + bias)
            case MaxPool():
                x, trace.switches[layer.name] = ops.max_pool(
                    x, size=layer.size, stride=layer.stride, pads=pads(layer, *x.shape[1:3])
                )
            case ContrastNorm():
                x = contrast_norm(x, size=layer.size, alpha=layer.alpha, beta=layer.beta, k=layer.k)
            case Dense():
                kernel, bias = params[layer.name]["kernel"], params[layer.name]["bias"]
                x = jnp.dot(x.reshape(len(x), -1), kernel, precision="highest") + bias
                x = nn.relu(x) if layer.relu else x
        trace.activations[layer.name] = x
        if isinstance(layer, Dense) and layer.dropout:
            x = drop(x, layer.dropout)
    return x.astype(jnp.float32), trace
