"""Convolution with fewer multiplications, for the many forward passes of an occlusion on a CPU.

Winograd's minimal filtering, as in Lavin and Gray 2016 (*Fast algorithms for convolutional neural
networks*, section 4): of each 7x7 pixels of a map, and of each filter of 3x3, 49 combinations are
made; their products, added over the maps, are combined to 5x5 outputs, with 49 multiplications in
place of 225. A convolution of stride s is one of stride 1 over s^2 times as many maps, the pixels
of each remainder (mod s), with filters s times smaller: 5x5 of stride 2 become 3x3.

The result is that of `ops.conv` but for rounding, some ten times larger: relative errors of 5e-6.
That can flip a switch, and makes units differ that see the same pixels. So projection, mining and
correspondence use `ops.conv`. Accelerators' libraries choose such algorithms themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial

from zfnet_jax.networks.function import forward_of, network
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.architecture import Architecture, Conv
from zfnet_jax.zfnet.trace import Params

_TAPS = 3
_POINTS_OF_EVALUATION = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)
"""Where the polynomials of pixels and taps are evaluated, besides infinity."""


def _combinations() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The factors that combine pixels, taps and products along one axis (Toom and Cook).

    A filter slid over pixels is the transpose of a product of polynomials, which follows from the
    products of their values at as many points as it has coefficients.
    """
    points, count = np.array(_POINTS_OF_EVALUATION), len(_POINTS_OF_EVALUATION)
    pixels, taps = np.zeros((count + 1, count + 1)), np.zeros((count + 1, _TAPS))
    products = np.zeros((count + 2 - _TAPS, count + 1))
    for row, point in enumerate(points):
        others = np.delete(points, row)
        pixels[row, :count] = np.poly(others)[::-1]
        taps[row] = point ** np.arange(_TAPS) / np.prod(point - others)
        products[:, row] = point ** np.arange(len(products))
    pixels[-1], taps[-1, -1], products[-1, -1] = np.poly(points)[::-1], 1, 1
    return pixels, taps, products


_OF_PIXELS, _OF_TAPS, _OF_PRODUCTS = _combinations()
_TILE, _POINTS = _OF_PRODUCTS.shape

_MINIMUM_MAPS = 32
"""With this many maps and more it was measured to be faster; fewer were not tried."""

_CACHE = 24 * 2**20
"""Bytes of combined pixels at a time, few enough for a processor's last cache."""


@partial(jax.tree_util.register_dataclass, data_fields=["points"], meta_fields=["size"])
@dataclass(frozen=True)
class CombinedFilters:
    """A convolution's kernel as `conv` takes it.

    Attributes:
      points: (49, stride^2 * I, O) float, the combinations of its taps.
      size: width and height of the filters they were made of, in pixels.
    """

    points: Array
    size: int


def fast_network(net: Net) -> Partial:
    """`networks.function.network`, on a CPU with fewer multiplications and more rounding.

    For analyses that need no switches, nor that units which see the same pixels are equal. Several
    devices would each compute every picture, since the parts that a cache holds are no device's
    share of a batch: there, and on accelerators, it is `network`.
    """
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1:
        return network(net)
    arch = net.architecture
    return Partial(forward_of(arch, conv), _prepare(arch, net.params))


def prepare(arch: Architecture, params: Params) -> dict[str, Mapping[str, Array | CombinedFilters]]:
    """A net's parameters for `conv`: kernels that gain by it become `CombinedFilters`.

    Args:
      arch: the layers.
      params: their parameters.

    Returns:
      A dict of the same keys.
    """
    prepared: dict[str, Mapping[str, Array | CombinedFilters]] = {**params}
    for layer in arch:
        if isinstance(layer, Conv):
            kernel = params[layer.name]["kernel"]
            inputs, outputs = kernel.shape[2:]
            maps = min(inputs * layer.stride**2, outputs)
            if -(-layer.size // layer.stride) == _TAPS and maps >= _MINIMUM_MAPS:
                filters = CombinedFilters(combine_taps(kernel, layer.stride), layer.size)
                prepared[layer.name] = {**params[layer.name], "kernel": filters}
    return prepared


_prepare = partial(jax.jit, static_argnums=0)(prepare)


def combine_taps(kernel: Array, stride: int) -> Array:
    """The combinations of a kernel's taps.

    Args:
      kernel: (size, size, I, O) float; size / stride rounds up to 3.
      stride: of the convolution.

    Returns:
      (49, stride^2 * I, O), of the kernel's type.
    """
    size, _, inputs, outputs = kernel.shape
    rest = _TAPS * stride - size
    whole = jnp.pad(kernel, ((0, rest), (0, rest), (0, 0), (0, 0)))
    whole = whole.reshape(_TAPS, stride, _TAPS, stride, inputs, outputs).transpose(0, 2, 1, 3, 4, 5)
    taps = whole.reshape(_TAPS, _TAPS, -1, outputs)
    of_taps = jnp.asarray(np.kron(_OF_TAPS, _OF_TAPS), kernel.dtype)
    points = jnp.dot(of_taps, taps.reshape(_TAPS**2, -1), precision="highest")
    return points.reshape(_POINTS**2, -1, outputs)


def conv(
    x: Array, kernel: Array | CombinedFilters, *, stride: int = 1, pads: ops.Pads = ops.NO_PADS
) -> Array:
    """Correlates maps with filters as `ops.conv` does, which it calls for a plain kernel.

    Args:
      x: maps, (N, H, W, I) float.
      kernel: the filters.
      stride: pixels from one position to the next, that of the filters.
      pads: zeros around the maps, exact.

    Returns:
      (N, rows, cols, O), of x's type.

    Raises:
      ValueError: the windows do not fill the padded map.
    """
    if not isinstance(kernel, CombinedFilters):
        return ops.conv(x, kernel, stride=stride, pads=pads)
    plain = jax.ShapeDtypeStruct(
        (kernel.size, kernel.size, x.shape[-1], kernel.points.shape[-1]), x.dtype
    )
    _, rows, cols, _ = jax.eval_shape(partial(ops.conv, stride=stride, pads=pads), x, plain).shape
    tiles = -(-rows // _TILE), -(-cols // _TILE)
    bytes_per_image = _POINTS**2 * tiles[0] * tiles[1] * kernel.points.shape[1] * x.dtype.itemsize
    parts = max(1, -(-len(x) * bytes_per_image // _CACHE))
    chunk = max(1, -(-len(x) // parts))

    def convolved(x: Array) -> Array:
        spread = _spread(x, tiles, stride, pads)
        return _correlate(spread, kernel.points, tiles)[:, :rows, :cols]

    whole = len(x) // chunk * chunk
    y = lax.map(convolved, x[:whole].reshape(-1, chunk, *x.shape[1:]))
    y = y.reshape(whole, *y.shape[2:])
    return y if whole == len(x) else jnp.concatenate([y, convolved(x[whole:])])


def _spread(x: Array, tiles: tuple[int, int], stride: int, pads: ops.Pads) -> Array:
    """The padded maps as far as the tiles reach, the pixels of each remainder as separate maps."""
    reach = [stride * (_TILE * count + _TAPS - 1) for count in tiles]
    edges = [
        (before, end - length - before, 0)
        for end, length, (before, _) in zip(reach, x.shape[1:3], pads, strict=True)
    ]
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    count, high, wide, maps = x.shape
    x = x.reshape(count, high // stride, stride, wide // stride, stride, maps)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(count, high // stride, wide // stride, -1)


def _correlate(x: Array, points: Array, tiles: tuple[int, int]) -> Array:
    """Stride 1, no pads: (N, 5 rows + 2, 5 cols + 2, I) -> (N, 5 rows, 5 cols, O)."""
    count, (high, wide), outputs = len(x), tiles, points.shape[-1]

    def every(array: Array, axis: int, start: int, length: int) -> Array:
        return lax.slice_in_dim(array, start, start + _TILE * (length - 1) + 1, _TILE, axis)

    lines = [every(x, 1, start, high) for start in range(_POINTS)]
    mixed = jnp.stack([_combine(row, lines) for row in _OF_PIXELS])
    lines = [every(mixed, 3, start, wide) for start in range(_POINTS)]
    pixels = jnp.stack([_combine(row, lines) for row in _OF_PIXELS], axis=1)
    products = jnp.matmul(
        pixels.reshape(_POINTS**2, -1, x.shape[-1]),
        points,
        precision="highest",
    )
    of_products = jnp.asarray(np.kron(_OF_PRODUCTS, _OF_PRODUCTS), x.dtype)
    y = jnp.dot(of_products, products.reshape(_POINTS**2, -1), precision="highest")
    y = y.reshape(_TILE, _TILE, count, high, wide, outputs).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(count, high * _TILE, wide * _TILE, outputs)


def _combine(factors: np.ndarray, parts: Sequence[Array]) -> Array:
    """The sum of the parts by their factors; parts of factor 0 are not read."""
    pairs = [(factor, part) for factor, part in zip(factors.tolist(), parts, strict=True) if factor]
    terms = [part if factor == 1 else factor * part for factor, part in pairs]
    return sum(terms[1:], start=terms[0])
