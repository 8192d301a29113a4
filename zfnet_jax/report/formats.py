"""Numbers, paths and drawings as the text that pages and figures show."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

HISTOGRAM_SIZE = (240, 64)
"""Width and height of a histogram's drawing."""

_FEWEST_BINS = 16  # so that a map whose maxima are alike has a bar and not a block
_BLOCK_MAPS = 384  # maps of a block of full width; the paper's widest convolution
_BLOCK_FEATURES = 4096  # features of a dense layer's block of full height


class Histogram(NamedTuple):
    """A histogram's drawing.

    Attributes:
      silent: how many images are in the bin up to 0.
      total: how many images there are.
      silent_bar: the outline of that bin's bar, an SVG path.
      bars: the outlines of the others' bars.
      low: the lower edge of the first of these bins.
      low_at: where that is in the drawing's width, as CSS.
      high: the upper edge of the last of them; None where it is open.
    """

    silent: int
    total: int
    silent_bar: str
    bars: str
    low: float
    low_at: str
    high: float | None


def url(path: str) -> str:
    """A relative path as a URL, whatever its names hold."""
    return quote(path, errors="surrogateescape")


def significant(value: float) -> str:
    """A number for the eye: three digits, and thousands without an exponent."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def share(count: int, total: int) -> str:
    """A share in per cent that is 0 or 100 only where it is none or all."""
    percent = 100 * count / total
    shown = f"{percent:.0f}"
    if shown == "0" and count:
        shown = "<1"
    if shown == "100" and count < total:
        shown = ">99"
    return f"{shown} %"


def box_style(box: tuple[int, int, int, int], input_size: int) -> str:
    """A patch's place in its picture as CSS, cut off at the picture's edges."""
    top, left, height, width = box
    bottom, right = min(top + height, input_size), min(left + width, input_size)
    top, left = max(top, 0), max(left, 0)
    values = {"top": top, "left": left, "height": bottom - top, "width": right - left}
    return ";".join(f"{key}:{100 * value / input_size:.4g}%" for key, value in values.items())


def tiles_there(size: tuple[int, int], side: int, count: int) -> str:
    """Which tiles of a mosaic are there, as CSS that cuts away the others.

    Args:
      size: of the picture, width and height.
      side: tiles in a row, which are square.
      count: how many tiles there are.

    Returns:
      A clip path; nothing where they fill the picture.
    """
    rows = round(size[1] * side / size[0])
    if count >= rows * side:
        return ""
    full, rest = divmod(count, side)
    above, below = f"{100 * full / rows:.4g}%", f"{100 * (full + 1) / rows:.4g}%"
    right = f"{100 * rest / side:.4g}%"
    corners = f"0 0,100% 0,100% {above},{right} {above},{right} {below},0 {below}"
    return f"clip-path:polygon({corners})"


def block(shape: Sequence[int], input_size: int) -> str:
    """A layer's block in the strip: as high as its map is wide, as wide as it has maps.

    Args:
      shape: of the layer's output, (rows, cols, maps) or (features,).
      input_size: of the network.

    Returns:
      CSS declarations of --high and --wide, 0..1. Both go by the square root: the last maps of the
      paper's net are 17 times smaller than its input.
    """
    if len(shape) == 1:
        high, wide = shape[0] / _BLOCK_FEATURES, 0.0
    else:
        high, wide = shape[0] / input_size, shape[-1] / _BLOCK_MAPS
    return f"--high:{min(1, math.sqrt(high)):.3f};--wide:{min(1, math.sqrt(wide)):.3f}"


def histogram(counts: Sequence[int], edges: Sequence[float]) -> Histogram:
    """Draws how many images have which maximum of a map; heights go by the logarithm.

    Args:
      counts: one for each bin; the first is up to edges[0], the last is open.
      edges: one fewer than counts, rising from 0.

    Returns:
      The drawing, HISTOGRAM_SIZE units large.
    """
    width, height = HISTOGRAM_SIZE
    filled = [place for place, count in enumerate(counts) if place and count] or [1]
    last = min(max(filled[-1], filled[0] + _FEWEST_BINS - 1), len(counts) - 1)
    first = max(min(filled[0], last + 1 - _FEWEST_BINS), 1)
    slot = width / (2 + last + 1 - first)
    most = math.log1p(max(counts)) or 1.0

    def bar(place: float, count: int) -> str:
        if not count:
            return ""
        high = height * math.log1p(count) / most
        return f"M{slot * place:.4g} {height}v{-high:.4g}h{slot - 1:.4g}v{high:.4g}z"

    return Histogram(
        silent=counts[0],
        total=sum(counts),
        silent_bar=bar(0, counts[0]),
        bars="".join(bar(place + 2 - first, counts[place]) for place in range(first, last + 1)),
        low=edges[first - 1],
        low_at=f"{100 * 2 * slot / width:.4g}%",
        high=edges[last] if last < len(edges) else None,
    )
