"""Contrast normalisation across maps, with a gradient written by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


# Compiled, so that its name is in a trace: `transform.deconvnet` skips it by that name.
@partial(jax.jit, static_argnames=("size", "alpha", "beta", "k"))
def contrast_norm(
    x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Array:
    """Divides each value by a power of the energy of its neighbouring maps at the same place.

    Krizhevsky et al. 2012, section 3.3, with cuda-convnet's division of alpha by the window:
    x / (k + alpha / size * sum of x^2 over the `size` maps around it) ^ beta.

    Args:
      x: maps, (N, H, W, C) float.
      size: how many maps are summed, odd.
      alpha: the sum's weight, before division by `size`.
      beta: the exponent.
      k: the constant in the divisor, above 0.

    Returns:
      (N, H, W, C), of x's type.
    """
    return _contrast_norm(x, size, alpha, beta, k)


def _normalise(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    # In bfloat16 a small energy would vanish beside k.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * _power(_energy(wide, size, alpha, k), -beta)).astype(x.dtype)


def _contrast_norm_forward(
    x: Array, size: int, alpha: float, beta: float, k: float
) -> tuple[Array, Array]:
    return _normalise(x, size, alpha, beta, k), x


def _contrast_norm_backward(
    size: int, alpha: float, beta: float, k: float, x: Array, cotangent: Array
) -> tuple[Array]:
    # y_i = x_i s_i^-b, so dx_i = g_i s_i^-b - 2 b (alpha / size) x_i sum_j g_j x_j s_j^(-b - 1):
    # i is among j's neighbours exactly when j is among i's, since the window is odd.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    energy = _energy(wide, size, alpha, k)
    scaled = cotangent * _power(energy, -beta)
    of_neighbours = _neighbours(scaled * wide / energy, size)
    return ((scaled - (2 * beta * alpha / size) * wide * of_neighbours).astype(x.dtype),)


_contrast_norm: Any = jax.custom_vjp(_normalise, nondiff_argnums=(1, 2, 3, 4))
_contrast_norm.defvjp(_contrast_norm_forward, _contrast_norm_backward)


def _energy(x: Array, size: int, alpha: float, k: float) -> Array:
    return k + (alpha / size) * _neighbours(x * x, size)


def _neighbours(x: Array, size: int) -> Array:
    """The sum over `size` neighbouring maps, as shifted additions."""
    channels, half = x.shape[-1], size // 2
    padded = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (half, half)))
    total = padded[..., :channels]
    for shift in range(1, size):
        total = total + padded[..., shift : shift + channels]
    return total


def _power(x: Array, exponent: float) -> Array:
    if exponent == -0.75:  # two fast instructions in place of a logarithm and an exponential
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**exponent
