"""The net's operations and their adjoints: pure functions of NHWC arrays.

`conv` and `conv_transpose`, `max_pool` and `max_unpool` are exact adjoints, which the deconvnet is
built from and training differentiates through.

Pads are ((before, after), (before, after)) for rows and columns and are exact: the windows fill
the padded map to its last pixel, so that an adjoint knows the size of its result. A negative
"after" cuts pixels off that no window reads.
"""

import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Pads = tuple[tuple[int, int], tuple[int, int]]
Overlap = Literal["add", "overwrite"]

NO_PADS: Pads = ((0, 0), (0, 0))
_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Only float32 has lower precisions to refuse: TF32 on a GPU, bfloat16 passes on a TPU.
_PRECISION = lax.Precision.HIGHEST


def conv(x: Array, kernel: Array, *, stride: int = 1, pads: Pads = NO_PADS) -> Array:
    """Correlates maps with filters, the forward direction of a convolution layer.

    Args:
      x: maps, (N, H, W, I) float.
      kernel: filters, (size, size, I, O), of x's type.
      stride: pixels from one position to the next.
      pads: zeros around the maps, exact.

    Returns:
      (N, rows, cols, O), of x's type.

    Raises:
      ValueError: the windows do not fill the padded map.
    """
    _expect_exact(x.shape[1:3], kernel.shape[:2], stride, pads)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT, precision=_PRECISION
    )


def conv_transpose(y: Array, kernel: Array, *, stride: int = 1, pads: Pads = NO_PADS) -> Array:
    """Filters maps with the flipped filters, inputs and outputs swapped: the adjoint of `conv`.

    Zeiler & Fergus 2014, section 2.1, "Filtering". Each pixel of y makes a patch of the input, and
    patches add up where they overlap. All patches are one matrix product, without the zeros that a
    convolution would need around y and, for a stride above one, between its values; then they are
    added, along columns of the map first and along its rows last.

    Args:
      y: maps of the layer's output, (N, rows, cols, O) float.
      kernel: the layer's filters as `conv` takes them, (size, size, I, O).
      stride: the stride that `conv` had.
      pads: the pads that `conv` had.

    Returns:
      Maps of the layer's input, (N, H, W, I).
    """
    count, rows, cols, outputs = y.shape
    size, _, inputs, _ = kernel.shape
    filters = kernel.transpose(3, 0, 1, 2).reshape(outputs, -1)
    patches = jnp.dot(y, filters, precision=_PRECISION).reshape(count, rows, cols, size, -1)
    strips = _overlap(jnp.moveaxis(patches, 3, 0), stride, axis=1)
    strips = strips.reshape(*strips.shape[:3], size, inputs)
    x = _overlap(jnp.moveaxis(strips, 3, 0), stride, axis=2)
    return _cut(x, (rows, cols), size, stride, pads)


def _overlap(parts: Array, stride: int, axis: int) -> Array:
    """The sum of parts[0], parts[1], ..., each shifted by one more position along an axis.

    In the result a part's values are a stride apart. Positions of one remainder (mod stride) get
    values from the parts of that remainder only: dense sums, which are then interleaved.
    """
    reach = _taps(len(parts), stride) - 1
    before, (length, *after) = parts.shape[1 : axis + 1], parts.shape[axis + 1 :]
    phases = []
    for phase in range(stride):
        total = jnp.zeros((*before, length + reach, *after), parts.dtype)
        for shift, part in enumerate(parts[phase::stride]):
            edges = [(0, 0, 0)] * part.ndim
            edges[axis] = (shift, reach - shift, 0)
            total = total + lax.pad(part, jnp.zeros((), part.dtype), edges)
        phases.append(total)
    return jnp.stack(phases, axis + 1).reshape(*before, -1, *after)


def _taps(size: int, stride: int) -> int:
    """The largest number of windows that contain one pixel, along one axis."""
    return -(-size // stride)


def _cut(x: Array, windows: tuple[int, ...], size: int, stride: int, pads: Pads) -> Array:
    """The map without its pads, from one that begins at the first window's first pixel."""
    crop = [
        (-before, (n - 1) * stride + size - after - length, 0)
        for (before, after), n, length in zip(pads, windows, x.shape[1:3], strict=True)
    ]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *crop, (0, 0, 0)))


def max_pool(
    x: Array, *, size: int = 3, stride: int = 2, pads: Pads = NO_PADS
) -> tuple[Array, Array]:
    """The maximum of each window, and which of its pixels it was.

    Zeiler & Fergus 2014, section 2.1, "Unpooling". Of equal values the first in row-major order
    wins. What lies outside the maps never does.

    Args:
      x: maps, (N, H, W, C) float.
      size: width and height of the window, at most 16 pixels.
      stride: pixels from one window to the next.
      pads: pixels around the maps, exact.

    Returns:
      The maxima, (N, rows, cols, C) of x's type, and the switches, (N, rows, cols, C) uint8: the
      maximum's row-major index within its window, 0..size^2 - 1.

    Raises:
      ValueError: the windows do not fill the padded map, or are too large for a one-byte switch.
    """
    if size > 16:
        raise ValueError(f"pooling window {size}: expected at most 16, so that a switch is a byte")
    _expect_exact(x.shape[1:3], (size, size), stride, pads)
    return _max_pool(x, size, stride, pads)


def _pool(x: Array, size: int, stride: int, pads: Pads) -> tuple[Array, Array]:
    padded = lax.pad(
        x, jnp.array(-jnp.inf, x.dtype), ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0))
    )
    count, high, wide, channels = padded.shape

    def pixel(index: int) -> Array:
        row, col = divmod(index, size)
        end = (count, high - size + row + 1, wide - size + col + 1, channels)
        return lax.slice(padded, (0, row, col, 0), end, (1, stride, stride, 1))

    values = pixel(0)
    switches = jnp.zeros(values.shape, jnp.uint8)
    for index in range(1, size * size):
        challenger = pixel(index)
        larger = challenger > values
        values = jnp.where(larger, challenger, values)
        switches = jnp.where(larger, jnp.uint8(index), switches)
    return values, switches


def _max_pool_forward(
    x: Array, size: int, stride: int, pads: Pads
) -> tuple[tuple[Array, Array], Array]:
    values, switches = _pool(x, size, stride, pads)
    return (values, switches), switches


def _max_pool_backward(
    size: int, stride: int, pads: Pads, switches: Array, cotangents: tuple[Array, Array]
) -> tuple[Array]:
    return (max_unpool(cotangents[0], switches, size=size, stride=stride, pads=pads),)


def max_unpool(
    y: Array,
    switches: Array,
    *,
    size: int = 3,
    stride: int = 2,
    pads: Pads = NO_PADS,
    overlap: Overlap = "add",
) -> Array:
    """Puts each value back where its maximum was, zeros elsewhere.

    Zeiler & Fergus 2014, section 2.1, "Unpooling". Where windows overlap and several chose one
    pixel the paper is silent: adding is the adjoint of pooling; overwriting, which keeps the last
    window's value in row-major order, loses a third of the mass on 3x3 windows of stride 2.

    Args:
      y: maps of the layer's output, (N, rows, cols, C) float.
      switches: what `max_pool` returned, (N, rows, cols, C) uint8.
      size: the window that `max_pool` had.
      stride: the stride that `max_pool` had.
      pads: the pads that `max_pool` had.
      overlap: what happens to a pixel that several windows chose.

    Returns:
      Maps of the layer's input, (N, H, W, C).

    Raises:
      ValueError: y and switches differ in shape, or overlap is no such option.
    """
    if y.shape != switches.shape:
        raise ValueError(f"values of shape {y.shape}: expected the switches' {switches.shape}")
    if overlap not in ("add", "overwrite"):
        raise ValueError(f"overlap {overlap!r}: expected 'add' or 'overwrite'")

    count, rows, cols, channels = y.shape
    taps = _taps(size, stride)
    reach = taps - 1
    edge = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    y = jnp.pad(y, edge)
    switches = jnp.pad(switches.astype(jnp.int16), edge, constant_values=-1)
    if y.size:
        y, switches = _materialised(y, switches, size)
    high, wide = rows + reach, cols + reach
    # Pixel (row * stride + i, col * stride + j) lies at [:, row, i, col, j]: in the map's order, so
    # that its channels are read, chosen and written side by side.
    x = jnp.zeros((count, high, stride, wide, stride, channels), y.dtype)
    # Downwards: of two windows that share a pixel the later one sees it at the smaller index.
    for down, right in itertools.product(reversed(range(taps)), repeat=2):
        row, col = stride * np.array([[down], [right]]) + np.arange(stride)
        inside = (row < size)[:, None] & (col < size)
        index = np.where(inside, row[:, None] * size + col, size * size).astype(np.int16)

        def seen(a: Array, top: int = reach - down, left: int = reach - right) -> Array:
            """The value of the window that many strides above and to the left, at its pixels."""
            return a[:, top : top + high, None, left : left + wide, None]

        chosen = seen(switches) == index[:, None, :, None]
        other = x if overlap == "overwrite" else jnp.zeros((), y.dtype)
        part = jnp.where(chosen, seen(y), other)
        x = part if overlap == "overwrite" else x + part
    x = x.reshape(count, high * stride, wide * stride, channels)
    return _cut(x, (rows, cols), size, stride, pads)


def _materialised(y: Array, switches: Array, size: int) -> tuple[Array, Array]:
    """The same arrays, on a CPU computed once and stored.

    The compiler would otherwise fuse a copy of their computation into each of their uses. An
    optimization barrier is removed before that fusion; a conditional is not.
    """

    def stored(y: Array, switches: Array) -> tuple[Array, Array]:
        valid = (
            switches[0, 0, 0, 0] <= size * size - 1
        )  # always true, which the compiler does not know
        factor = 1 + valid.astype(
            jnp.uint8
        )  # 1 in the branch that uses it, so that nothing changes
        return lax.cond(
            valid,
            lambda *arrays: arrays,
            lambda *arrays: tuple(array * factor.astype(array.dtype) for array in arrays),
            y,
            switches,
        )

    return lax.platform_dependent(y, switches, cpu=stored, default=lambda *arrays: arrays)


_max_pool: Any = jax.custom_vjp(_pool, nondiff_argnums=(1, 2, 3))
_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _expect_exact(shape: tuple[int, ...], window: tuple[int, ...], stride: int, pads: Pads) -> None:
    for length, size, (before, after) in zip(shape, window, pads, strict=True):
        room = length + before + after - size
        if room < 0 or room % stride:
            raise ValueError(
                f"pads {pads} around maps of {shape}: expected windows of {size} with stride "
                f"{stride} to fill them exactly"
            )
