"""Drawing with distances: primitives and textures as functions over a grid of pixels.

A primitive returns for every pixel its signed distance to an outline, negative inside. The union
of two primitives is `np.minimum`, their intersection `np.maximum`, and a difference
`np.maximum(a, -b)`. Coordinates are those of a `Frame`, x to the right and y down, so a drawing
does not know the size of the picture it is drawn into.
"""

import math
from dataclasses import dataclass

import numpy as np

TEXTURES = ("plain", "gradient", "stripes", "checks", "dots")


@dataclass(frozen=True)
class Frame:
    """A moved, scaled and turned coordinate system over a window of a square picture.

    Coordinates are affine in row and column, so a linear function of x and y costs one broadcast
    sum of two vectors.

    Attributes:
      rows: the window's rows in the picture.
      columns: the window's columns in the picture.
      right: (W,) float32, how far right of the origin a column is, in halves of the picture.
      below: (H,) float32, how far below the origin a row is, in halves of the picture.
      axes: ((x per right, x per below), (y per right, y per below)).
      pixels: pixels to one unit of length.
    """

    rows: slice
    columns: slice
    right: np.ndarray
    below: np.ndarray
    axes: tuple[tuple[float, float], tuple[float, float]]
    pixels: float

    def ramp(self, a: float, b: float, c: float = 0.0) -> np.ndarray:
        """Evaluate a * x + b * y + c.

        Args:
          a: coefficient of x.
          b: coefficient of y.
          c: constant.

        Returns:
          (H, W) float32.
        """
        (x_right, x_below), (y_right, y_below) = self.axes
        down = (a * x_below + b * y_below) * self.below + c
        return (a * x_right + b * y_right) * self.right + down[:, None]


def frame(
    size: int,
    centre: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    angle: float = 0.0,
    mirrored: bool = False,
    reach: float = math.inf,
) -> Frame:
    """Place a coordinate system in a picture whose own x and y run from -1 to 1.

    Args:
      size: side of the picture in pixels.
      centre: the new origin, in the picture's coordinates.
      scale: length of the new unit, in the picture's coordinates.
      angle: clockwise turn of the new axes in radians.
      mirrored: whether the new x axis is reversed.
      reach: half side, in new units, of the window around the origin; the rest is left out.

    Returns:
      The frame; its window may be empty where the origin lies outside the picture.
    """
    position = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    # Without a reach the window is the picture, wherever the origin is.
    half = min(reach * scale, 4.0)
    columns, rows = (
        slice(
            max(0, math.floor((middle - half + 1) * size / 2)),
            max(0, math.ceil((middle + half + 1) * size / 2)),
        )
        for middle in centre
    )
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    sign = -1.0 if mirrored else 1.0
    return Frame(
        rows=rows,
        columns=columns,
        right=position[columns] - centre[0],
        below=position[rows] - centre[1],
        axes=((sign * cos, sign * sin), (-sin, cos)),
        pixels=scale * size / 2,
    )


def polygon(f: Frame, *vertices: tuple[float, float]) -> np.ndarray:
    """Distance to a convex polygon.

    Args:
      f: the coordinates.
      *vertices: (x, y) in either direction around it.

    Returns:
      (H, W) float32; beyond a corner it is less than the distance to that corner.
    """
    doubled_area = 0.0
    sides = []
    for (x, y), (next_x, next_y) in zip(vertices, vertices[1:] + vertices[:1], strict=True):
        dx, dy = next_x - x, next_y - y
        doubled_area += x * next_y - next_x * y
        length = math.hypot(dx, dy)
        sides.append((dy / length, -dx / length, (dx * y - dy * x) / length))
    outward = math.copysign(1.0, doubled_area)
    # One half plane a side: the polygon is where all of them overlap.
    distance = f.ramp(*(outward * term for term in sides[0]))
    for a, b, c in sides[1:]:
        np.maximum(distance, f.ramp(outward * a, outward * b, outward * c), out=distance)
    return distance


def ellipse(
    f: Frame, x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0
) -> np.ndarray:
    """Distance to an ellipse, exact for a circle and on the outline.

    Args:
      f: the coordinates.
      x: centre.
      y: centre.
      radius_x: half axis along x before turning.
      radius_y: half axis along y before turning.
      angle: clockwise turn in radians.

    Returns:
      (H, W) float32.
    """
    u, v = _turned(f, x, y, angle)
    if radius_x == radius_y:
        return np.sqrt(u * u + v * v) - radius_x
    u *= 1 / radius_x
    v *= 1 / radius_y
    return (np.sqrt(u * u + v * v) - 1) * min(radius_x, radius_y)


def bar(
    f: Frame, start: tuple[float, float], end: tuple[float, float], radius: float
) -> np.ndarray:
    """Distance to a line with round ends.

    Args:
      f: the coordinates.
      start: (x, y) of one end.
      end: (x, y) of the other end.
      radius: half the thickness.

    Returns:
      (H, W) float32.
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    u, v = _turned(f, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2, math.atan2(dy, dx))
    beyond = np.maximum(np.abs(u) - math.hypot(dx, dy) / 2, 0)
    return np.sqrt(beyond * beyond + v * v) - radius


def box(
    f: Frame, x: float, y: float, half_width: float, half_height: float, corner: float = 0.0
) -> np.ndarray:
    """Distance to an upright rectangle with round corners.

    Args:
      f: the coordinates.
      x: centre.
      y: centre.
      half_width: half extent along x, corners included.
      half_height: half extent along y, corners included.
      corner: radius of the corners.

    Returns:
      (H, W) float32.
    """
    u = np.abs(f.ramp(1, 0, -x)) - (half_width - corner)
    v = np.abs(f.ramp(0, 1, -y)) - (half_height - corner)
    inside = np.minimum(np.maximum(u, v), 0)
    u, v = np.maximum(u, 0), np.maximum(v, 0)
    return np.sqrt(u * u + v * v) + inside - corner


def ring(f: Frame, x: float, y: float, radius: float, half_width: float) -> np.ndarray:
    """Distance to a ring.

    Args:
      f: the coordinates.
      x: centre.
      y: centre.
      radius: of the ring's middle line.
      half_width: half the thickness.

    Returns:
      (H, W) float32.
    """
    return np.abs(ellipse(f, x, y, radius, radius)) - half_width


def rosette(f: Frame, x: float, y: float, radius: float, petals: int, depth: float) -> np.ndarray:
    """Approximate distance to a round outline with lobes.

    Args:
      f: the coordinates.
      x: centre.
      y: centre.
      radius: of the tips of the lobes.
      petals: how many lobes.
      depth: how far the notches go in, as a fraction of the radius.

    Returns:
      (H, W) float32.
    """
    u, v = f.ramp(1, 0, -x), f.ramp(0, 1, -y)
    # |cos| makes round lobes that meet in sharp notches, as petals do.
    lobes = np.abs(np.cos(np.arctan2(u, v) * (petals / 2)))
    return 0.8 * (np.sqrt(u * u + v * v) - radius * (1 - depth + depth * lobes))


def texture(f: Frame, kind: str, angle: float, period: float, phase: float) -> np.ndarray | float:
    """Say how much of a second colour a pixel takes.

    Args:
      f: the coordinates.
      kind: one of `TEXTURES`.
      angle: direction in radians.
      period: length of one repetition; a gradient takes four of them to change.
      phase: 0..1, moves the texture by that part of a period.

    Returns:
      (H, W) float32 in 0..1, or one number for all pixels.

    Raises:
      ValueError: if `kind` is none of `TEXTURES`.
    """
    if kind == "plain":
        return 0.0
    cos, sin = math.cos(angle) / period, math.sin(angle) / period
    u = f.ramp(cos, sin, phase)
    if kind == "gradient":
        return np.clip(u * 0.25 + 0.5 - phase * 0.25, 0, 1)
    softness = period * f.pixels
    wave_u = _triangle(u)
    if kind == "stripes":
        return _edge(wave_u - 0.25, softness)
    wave_v = _triangle(f.ramp(-sin, cos, phase))
    if kind == "checks":
        # A product of two waves changes its sign as a chessboard does.
        return _edge((wave_u - 0.25) * (wave_v - 0.25), 4 * softness)
    if kind == "dots":
        return _edge(0.3 - np.sqrt(wave_u * wave_u + wave_v * wave_v), softness)
    raise ValueError(f"texture {kind!r}; expected one of {', '.join(TEXTURES)}")


def coverage(f: Frame, distance: np.ndarray) -> np.ndarray:
    """Say how much of each pixel lies inside an outline.

    Args:
      f: the coordinates that `distance` was taken in.
      distance: (H, W) float32 signed distance.

    Returns:
      (H, W) float32 in 0..1, changing within one pixel of the outline.
    """
    return _edge(-distance, f.pixels)


def _turned(f: Frame, x: float, y: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across an axis through (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return f.ramp(cos, sin, -cos * x - sin * y), f.ramp(-sin, cos, sin * x - cos * y)


def _triangle(u: np.ndarray) -> np.ndarray:
    """Distance to the nearest half integer, 0..0.5."""
    return np.abs(u - np.floor(u) - 0.5)


def _edge(value: np.ndarray, slope: float) -> np.ndarray:
    """0 for negative and 1 for positive values, straight in between."""
    return np.clip(value * slope + 0.5, 0, 1)
