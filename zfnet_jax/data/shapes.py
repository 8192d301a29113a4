"""The embedded data set `shapes`: drawn things with named parts, and masks that tell the truth.

Every picture is drawn when it is asked for, from (split, seed, index) alone: nothing is
downloaded or stored. A thing (`shapes_classes`) stands on a cluttered background in a random pose;
the colour and the texture of each part are random too, so that only form tells the classes apart.
Because the drawing knows which pixel belongs to which part, what a visualisation claims to
see can be checked.
"""

import colorsys
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import numpy as np

from zfnet_jax.core import identity
from zfnet_jax.data.shapes_classes import CLASSES, Piece
from zfnet_jax.data.shapes_drawing import (
    TEXTURES,
    Frame,
    bar,
    coverage,
    ellipse,
    frame,
    polygon,
    ring,
    texture,
)
from zfnet_jax.data.source import Example

Split = Literal["train", "val"]

_NAMES = tuple(CLASSES)
_MAX_TURN = math.radians(15)
# No object, turned, reaches further from its origin along the picture's sides.
_REACH = 1.3
_GRAIN = 12.0


@dataclass(frozen=True)
class Scene:
    """A picture and what is where in it.

    Attributes:
      image: (size, size, 3) uint8.
      background: (size, size, 3) uint8, the same picture without the object.
      label: 0..len(class_names) - 1.
      object_mask: (size, size) bool, the visible object. A pixel is in where its centre is, so
        the soft edge blends into the pixel beyond, and at a sharp tip into one or two more.
      part_masks: part name -> (size, size) bool; together they make up the object, and no
        pixel belongs to two.
    """

    image: np.ndarray
    background: np.ndarray
    label: int
    object_mask: np.ndarray
    part_masks: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shapes:
    """A `Source` of drawn things; item i depends on (split, seed, i), and its detail on size.

    Attributes:
      split: "train" or "val"; they share no picture.
      length: number of pictures, at least 1. A longer set starts with the pictures of a shorter.
      seed: 0..2**32 - 1.
      size: side of a picture in pixels, at least 48.
    """

    split: Split
    length: int
    seed: int = 0
    size: int = 73

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"split is {self.split!r}; expected 'train' or 'val'")
        if self.length < 1:
            raise ValueError(f"length is {self.length}; expected at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; expected 0 to 2**32 - 1")
        if self.size < 48:
            raise ValueError(
                f"size is {self.size}; expected at least 48, for every part to be seen"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label, in label order."""
        return _NAMES

    @property
    def class_parts(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the parts of each class."""
        return MappingProxyType({name: kind.parts for name, kind in CLASSES.items()})

    @property
    def labels(self) -> np.ndarray:
        """The label of every item, (N,) int32: the classes in turn."""
        return np.arange(self.length, dtype=np.int32) % len(_NAMES)

    @property
    def names(self) -> tuple[str, ...]:
        """What each picture is called: the split and its number in it."""
        return tuple(f"{self.split}/{index}" for index in range(self.length))

    @property
    def identity(self) -> str:
        """As `Source.identity`; a picture is drawn, in case the drawing has changed."""
        image = self[self.length - 1].image
        assert isinstance(image, np.ndarray), "drawn, not encoded"
        drawn = identity.of_sample(image.tobytes())
        return identity.of_json([self.split, self.length, self.seed, self.size, drawn])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        drawing = self._draw(index)
        return Example(_develop(drawing.canvas, drawing.grain), drawing.label, drawing.name)

    def scene(self, index: int) -> Scene:
        """Draw item `index` and say what is where in it.

        Args:
          index: 0..len(self) - 1.

        Returns:
          The picture, the same as `self[index].image`, with its masks.

        Raises:
          IndexError: if `index` is out of range.
        """
        drawing = self._draw(index)
        parts = CLASSES[_NAMES[drawing.label]].parts
        masks = {part: np.zeros((self.size, self.size), bool) for part in parts}
        for piece in drawing.pieces:
            for part, mask in masks.items():
                window = mask[drawing.frame.rows, drawing.frame.columns]
                window[piece.distance < 0] = part == piece.part
        return Scene(
            image=_develop(drawing.canvas, drawing.grain),
            background=_develop(drawing.background, drawing.grain),
            label=drawing.label,
            object_mask=np.logical_or.reduce(list(masks.values())),
            part_masks=MappingProxyType(masks),
        )

    def _draw(self, index: int) -> "_Drawing":
        index = operator.index(index)
        if not 0 <= index < self.length:
            raise IndexError(f"item {index}; expected 0 to {self.length - 1}")
        rng = np.random.default_rng([self.seed, get_args(Split).index(self.split), index])
        label = index % len(_NAMES)
        kind = CLASSES[_NAMES[label]]
        background = _background(self.size, rng)
        f = _pose(self.size, kind.mirrored, rng)
        pieces = kind.draw(f, rng)
        canvas = background.copy()
        _paint_object(canvas, f, pieces, rng)
        # Last, because it is the only draw that depends on the size of the picture.
        grain = rng.random((self.size, self.size), np.float32)
        return _Drawing(f"{self.split}/{index}", label, background, canvas, grain, f, pieces)


class _Drawing(NamedTuple):
    """An item before it is developed: canvases are (3, size, size) float32, 0..255."""

    name: str
    label: int
    background: np.ndarray
    canvas: np.ndarray
    grain: np.ndarray
    frame: Frame
    pieces: list[Piece]


def _develop(canvas: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Turn a canvas (3, H, W) into a picture (H, W, 3) uint8, with grain as film has."""
    exposed = canvas + (grain - 0.5) * _GRAIN
    return np.clip(exposed, 0, 255, out=exposed).astype(np.uint8).transpose(1, 2, 0).copy()


def _pose(size: int, mirrored: bool, rng: np.random.Generator) -> Frame:
    """Place the object's coordinates: half its length is the scale."""
    scale = rng.uniform(0.56, 0.75)
    room = 0.9 - scale
    return frame(
        size,
        centre=(rng.uniform(-room, room), rng.uniform(-room, room)),
        scale=scale,
        angle=rng.uniform(-_MAX_TURN, _MAX_TURN),
        mirrored=mirrored and rng.random() < 0.5,
        reach=_REACH,
    )


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a gradient, textured fields and a litter of fragments; (3, size, size)."""
    whole = frame(size)
    hue = rng.random()
    canvas = np.empty((3, size, size), np.float32)
    canvas[:] = _fill(whole, "gradient", 1.0, _muted(hue, rng), _muted(hue, rng), rng)
    for _ in range(rng.integers(1, 3)):
        angle = rng.uniform(-math.pi, math.pi)
        field = whole.ramp(math.cos(angle), math.sin(angle), rng.uniform(0.1, 0.6))
        fill = _fill(
            whole, _any(rng), rng.uniform(0.15, 0.4), _muted(hue, rng), _muted(hue, rng), rng
        )
        _blend(canvas, whole, field, fill)
    for _ in range(rng.integers(3, 7)):
        _fragment(canvas, size, rng)
    return canvas


def _fragment(canvas: np.ndarray, size: int, rng: np.random.Generator) -> None:
    """Draw a small blob, line, ring or corner of an arbitrary colour anywhere."""
    x, y, length, turn, along = rng.random(5).tolist()
    f = frame(
        size,
        centre=(2 * x - 1, 2 * y - 1),
        scale=0.1 + 0.22 * length,
        angle=2 * math.pi * turn,
        reach=1.1,
    )
    thin = 0.4 + 0.5 * along
    match rng.integers(4):
        case 0:
            distance = ellipse(f, 0, 0, 1, thin)
        case 1:
            distance = bar(f, (-0.9, 0), (0.9, 0), 0.25 * thin)
        case 2:
            distance = ring(f, 0, 0, 0.8, 0.25 * thin)
        case _:
            distance = polygon(f, (-0.9, thin), (0.9, thin), (2 * along - 1, -thin))
    _blend(canvas, f, distance, _fill(f, _any(rng), 0.6, _vivid(rng), _vivid(rng), rng))


def _paint_object(
    canvas: np.ndarray, f: Frame, pieces: list[Piece], rng: np.random.Generator
) -> None:
    """Paint the pieces, each with an outline that lies inside its edge."""
    hue, width = rng.random(), rng.uniform(0.05, 0.08)
    # Always darker than the background, which is light, so that a small net learns the forms
    # within some ten passes over a few thousand pictures.
    ink = np.float32(rng.uniform(0, 60))
    for piece in pieces:
        # Neighbours in the order of painting get hues far apart, so that parts stand out.
        hue += rng.uniform(0.25, 0.5)
        kind = "plain" if piece.plain else _any(rng)
        colours = _vivid(rng, hue), _vivid(rng)
        fill = _fill(f, kind, rng.uniform(0.2, 0.4), *colours, rng)
        fill = ink + coverage(f, piece.distance + width) * (fill - ink)
        _blend(canvas, f, piece.distance, fill)


def _fill(
    f: Frame,
    kind: str,
    period: float,
    first: np.ndarray,
    second: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Mix two colours (3, 1, 1) by a texture in a random direction; (3, H, W) or (3, 1, 1)."""
    return first + (second - first) * texture(
        f, kind, rng.uniform(-math.pi, math.pi), period, rng.random()
    )


def _blend(canvas: np.ndarray, f: Frame, distance: np.ndarray, fill: np.ndarray) -> None:
    """Lay a fill over the inside of an outline, in place."""
    window = canvas[:, f.rows, f.columns]
    window += coverage(f, distance) * (fill - window)


def _any(rng: np.random.Generator) -> str:
    return TEXTURES[rng.integers(len(TEXTURES))]


def _muted(hue: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a colour of the background, near its hue."""
    near, saturation, value = rng.random(3).tolist()
    return _rgb(hue + 0.3 * near, 0.05 + 0.4 * saturation, 0.55 + 0.45 * value)


def _vivid(rng: np.random.Generator, hue: float | None = None) -> np.ndarray:
    """Draw a strong colour, of any hue where none is given."""
    any_hue, saturation, value = rng.random(3).tolist()
    return _rgb(any_hue if hue is None else hue, 0.35 + 0.65 * saturation, 0.45 + 0.55 * value)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return np.array([[[255 * red]], [[255 * green]], [[255 * blue]]], np.float32)
