"""The net and the deconvnet as plain NumPy loops in float64, to compare with.

Nothing here knows of pads, dilation or XLA: a window is cut out of a map place by place, and what
lies outside the map is not there.
"""

from collections.abc import Iterator

import numpy as np

from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv, Dense, MaxPool

Array = np.ndarray


def places(rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """All positions of a map, row by row."""
    return ((row, col) for row in range(rows) for col in range(cols))


def inside(start: int, size: int, length: int) -> tuple[slice, slice]:
    """The part of a map that a window covers, and the part of the window that is covered."""
    first, last = max(start, 0), min(start + size, length)
    return slice(first, max(first, last)), slice(first - start, max(first, last) - start)


def window(x: Array, top: int, left: int, size: int, outside: float) -> Array:
    """A window of (N, H, W, C) maps, with a value for what lies outside."""
    cut = np.full((len(x), size, size, x.shape[-1]), float(outside))
    rows, into_rows = inside(top, size, x.shape[1])
    cols, into_cols = inside(left, size, x.shape[2])
    cut[:, into_rows, into_cols] = x[:, rows, cols]
    return cut


def conv(x: Array, kernel: Array, stride: int, before: tuple[int, int], out: tuple) -> Array:
    """Filters `before` pixels of zeros and the maps; `out` is (rows, cols)."""
    y = np.zeros((len(x), *out, kernel.shape[-1]))
    for row, col in places(*out):
        top, left = row * stride - before[0], col * stride - before[1]
        y[:, row, col] = np.tensordot(window(x, top, left, len(kernel), 0), kernel, 3)
    return y


def conv_transpose(y: Array, kernel: Array, stride: int, before: tuple, shape: tuple) -> Array:
    """Sends every output back through its filter; `shape` is (H, W)."""
    x = np.zeros((len(y), *shape, kernel.shape[2]))
    for row, col in places(*y.shape[1:3]):
        rows, from_rows = inside(row * stride - before[0], len(kernel), shape[0])
        cols, from_cols = inside(col * stride - before[1], len(kernel), shape[1])
        sent = np.einsum("no,hwio->nhwi", y[:, row, col], kernel)
        x[:, rows, cols] += sent[:, from_rows, from_cols]
    return x


def pool(x: Array, size: int, stride: int, before: tuple, out: tuple) -> tuple[Array, Array]:
    """The maximum of each window and its row-major index, the first of equals."""
    y = np.zeros((len(x), *out, x.shape[-1]))
    switches = np.zeros(y.shape, np.uint8)
    for row, col in places(*out):
        top, left = row * stride - before[0], col * stride - before[1]
        seen = window(x, top, left, size, -np.inf).reshape(len(x), size * size, -1)
        y[:, row, col], switches[:, row, col] = seen.max(axis=1), seen.argmax(axis=1)
    return y, switches


def unpool(
    y: Array,
    switches: Array,
    size: int,
    stride: int,
    before: tuple[int, int],
    shape: tuple[int, ...],
    overlap: str = "add",
) -> Array:
    """Scatters the values to their maxima's places, window by window, row by row."""
    x = np.zeros((len(y), *shape, y.shape[-1]))
    images, maps = np.ix_(range(len(y)), range(y.shape[-1]))
    for row, col in places(*y.shape[1:3]):
        down, right = np.divmod(np.int64(switches[:, row, col]), size)
        rows, cols = row * stride - before[0] + down, col * stride - before[1] + right
        assert min(rows.min(), cols.min()) >= 0  # NumPy would count from the end.
        below = x[images, rows, cols, maps] if overlap == "add" else 0
        x[images, rows, cols, maps] = y[:, row, col] + below
    return x


def contrast_norm(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Divides every map by its neighbours' energy."""
    maps, y = x.shape[-1], np.zeros(x.shape)
    for index in range(maps):
        near = x[..., max(0, index - size // 2) : index + size // 2 + 1]
        y[..., index] = x[..., index] / (k + alpha / size * (near**2).sum(axis=-1)) ** beta
    return y


def forward(arch: Architecture, params: dict, images: Array) -> tuple[dict, dict]:
    """Every layer's output, and every pooling layer's switches."""
    outputs, switches, shapes = {}, {}, arch.shapes()
    x = np.float64(images)
    for layer in arch:
        name = layer.name
        if isinstance(layer, Conv | Dense):
            kernel, bias = (np.float64(params[name][kind]) for kind in ("kernel", "bias"))
        match layer:
            case Conv():
                before = (layer.padding, layer.padding)
                x = np.maximum(conv(x, kernel, layer.stride, before, shapes[name][:2]) + bias, 0)
            case MaxPool():
                before = (layer.padding, layer.padding)
                x, switches[name] = pool(x, layer.size, layer.stride, before, shapes[name][:2])
            case ContrastNorm():
                x = contrast_norm(x, layer.size, layer.alpha, layer.beta, layer.k)
            case Dense():
                x = x.reshape(len(x), -1) @ kernel + bias
                x = np.maximum(x, 0) if layer.relu else x
        outputs[name] = x
    return outputs, switches


def deconvnet(
    arch: Architecture, params: dict, switches: dict, layer: str, maps: Array, overlap: str = "add"
) -> Array:
    """Zeiler & Fergus 2014, section 2.1: unpool, rectify, filter, down to the pixels."""
    shapes = arch.input_shapes()
    signal = np.float64(maps)
    for each in arch.layers[arch.index(layer) :: -1]:
        shape = shapes[each.name]
        match each:
            case Conv():
                kernel, before = np.float64(params[each.name]["kernel"]), (each.padding,) * 2
                signal = np.maximum(signal, 0)
                signal = conv_transpose(signal, kernel, each.stride, before, shape[:2])
            case MaxPool():
                chosen, before = np.asarray(switches[each.name]), (each.padding,) * 2
                signal = unpool(signal, chosen, each.size, each.stride, before, shape[:2], overlap)
            case Dense():
                signal = np.maximum(signal, 0) if each.relu else signal
                signal = signal @ np.float64(params[each.name]["kernel"]).T
                signal = signal.reshape(len(signal), *shape)
    return signal


def relative(value: Array, expected: Array) -> float:
    """The L2 distance relative to what was expected, in float64."""
    value, expected = np.float64(value), np.float64(expected)
    assert value.shape == expected.shape
    length = np.linalg.norm(expected)
    return float(np.linalg.norm(value - expected) / length) if length else float(np.any(value))
