"""Layers as data, and the one rule that gives every map's size.

A window of `size` pixels moves by `stride` over a map of n pixels with `padding` pixels added on
each side. Where the last step does not fit, `rounding="up"` adds one more window that reaches past
the far edge (cuda-convnet's rule), `"down"` leaves the remainder out (Caffe's rule for
convolutions, PyTorch's for everything).
"""

import math
from dataclasses import dataclass
from typing import Literal

Rounding = Literal["up", "down"]
Pads = tuple[int, int]


@dataclass(frozen=True)
class Conv:
    """A convolution, its bias and a ReLU.

    Attributes:
      name: "conv1", "conv2", ...
      features: number of filters, so of maps, 1 or more.
      size: width and height of a filter in pixels.
      stride: pixels from one position to the next.
      padding: zeros added on each side before rounding, in pixels.
      rounding: whether the output size is rounded up or down.
    """

    name: str
    features: int
    size: int
    stride: int = 1
    padding: int = 0
    rounding: Rounding = "up"


@dataclass(frozen=True)
class MaxPool:
    """Max pooling; a window never counts what lies outside the map.

    Attributes:
      name: "pool1", ...
      size: width and height of the window, 2..16 pixels (a switch is one byte).
      stride: pixels from one window to the next.
      padding: pixels added on each side before rounding.
      rounding: whether the output size is rounded up or down.
    """

    name: str
    size: int = 3
    stride: int = 2
    padding: int = 0
    rounding: Rounding = "up"


@dataclass(frozen=True)
class ContrastNorm:
    """Contrast normalisation across maps: x / (k + alpha / size * sum of x^2)^beta.

    Attributes:
      name: "norm1", ...
      size: how many neighbouring maps are summed, odd.
      alpha: the sum's weight, before division by `size`.
      beta: the exponent.
      k: the constant that keeps the divisor away from zero.
    """

    name: str
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0


@dataclass(frozen=True)
class Dense:
    """A fully connected layer and its bias; a ReLU and dropout where they are asked for.

    Attributes:
      name: "fc6", ...
      features: number of outputs; None stands for the number of classes.
      relu: whether a ReLU follows.
      dropout: the fraction of outputs dropped in training, 0 up to but not including 1.
    """

    name: str
    features: int | None
    relu: bool = True
    dropout: float = 0.5


Layer = Conv | MaxPool | ContrastNorm | Dense
Window = Conv | MaxPool


def output_size(layer: Window, size: int) -> int:
    """How many positions the layer's window has along a map of `size` pixels; 0 if none fits."""
    room = size + 2 * layer.padding - layer.size
    if room < 0:
        return 0
    steps = -(-room // layer.stride) if layer.rounding == "up" else room // layer.stride
    if steps * layer.stride >= size + layer.padding:
        steps -= 1  # a window that starts past the map would see nothing but padding
    return steps + 1


def pads(layer: Window, rows: int, cols: int) -> tuple[Pads, Pads]:
    """The pixels to add before and after a map's rows and columns so that the windows fit exactly.

    The second of a pair is negative where rounding down leaves pixels out.
    """

    def along(size: int) -> Pads:
        reach = (output_size(layer, size) - 1) * layer.stride + layer.size
        return layer.padding, reach - size - layer.padding

    return along(rows), along(cols)


def check(layer: Layer) -> None:
    """Raises ValueError, with the field's name, where a layer's field is out of its range."""

    def expect(field: str, holds: bool, form: str) -> None:
        if not holds:
            raise ValueError(f"{layer.name}.{field} = {getattr(layer, field)!r}: expected {form}")

    if isinstance(layer, Window):
        expect("size", layer.size >= 1, "1 or more")
        expect("stride", layer.stride >= 1, "1 or more")
        expect("padding", 0 <= layer.padding < layer.size, f"0..{layer.size - 1}")
        expect("rounding", layer.rounding in ("up", "down"), "'up' or 'down'")
    match layer:
        case Conv():
            expect("features", layer.features >= 1, "1 or more")
        case MaxPool():
            expect("size", layer.size <= 16, "16 at most")
        case ContrastNorm():
            expect("size", layer.size >= 1 and layer.size % 2 == 1, "an odd number")
            expect("alpha", math.isfinite(layer.alpha), "a finite number")
            expect("beta", math.isfinite(layer.beta), "a finite number")
            expect("k", 0 < layer.k < math.inf, "a finite number above 0")
        case Dense():
            expect("features", layer.features is None or layer.features >= 1, "1 or more, or None")
            expect("dropout", 0 <= layer.dropout < 1, "0 up to but not including 1")
