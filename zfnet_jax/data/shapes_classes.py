"""The things that the data set `shapes` shows: each a few named parts around an origin.

A class is drawn in its own coordinates, x to the right and y down, about two units across the
longer way and centred. Random numbers vary its proportions, so no two of a kind are alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zfnet_jax.data.shapes_drawing import Frame, bar, box, ellipse, polygon, ring, rosette


class Piece(NamedTuple):
    """One stroke of a drawing; later pieces lie on top of earlier ones.

    Attributes:
      part: the part it belongs to; several pieces may belong to one.
      distance: (H, W) float32, signed distance to its outline, negative inside.
      plain: whether it is too small to carry a texture.
    """

    part: str
    distance: np.ndarray
    plain: bool = False


@dataclass(frozen=True)
class ShapeClass:
    """A kind of thing.

    Attributes:
      parts: the names of its parts; each is visible in every picture.
      draw: (frame, rng) -> pieces, back to front.
      mirrored: whether half of the pictures show it mirrored.
    """

    parts: tuple[str, ...]
    draw: Callable[[Frame, np.random.Generator], list[Piece]]
    mirrored: bool = True


def _house(f: Frame, rng: np.random.Generator) -> list[Piece]:
    half, eaves, door = rng.uniform(0.62, 0.85), rng.uniform(-0.3, 0.0), rng.uniform(0.15, 0.22)
    side = rng.uniform(0.25, 0.4)
    chimney = box(f, -side, -0.62, 0.13, 0.3)
    roof = polygon(f, (-half - 0.17, eaves), (0, -1), (half + 0.17, eaves))
    return [
        Piece("wall", box(f, 0, (eaves + 0.9) / 2 - 0.05, half, (0.9 - eaves) / 2 + 0.05)),
        Piece("roof", np.minimum(chimney, roof)),
        Piece("door", box(f, -side, 0.9 - door * 1.6, door, door * 1.6), plain=True),
        Piece("window", box(f, side, eaves + 0.38, 0.18, 0.18), plain=True),
    ]


def _boat(f: Frame, rng: np.random.Generator) -> list[Piece]:
    deck, mast, boom = rng.uniform(0.3, 0.45), rng.uniform(-0.15, 0.15), rng.uniform(0.6, 0.8)
    jib = polygon(f, (mast - 0.1, -0.75), (mast - 0.1, deck - 0.15), (mast - boom, deck - 0.15))
    main = polygon(f, (mast + 0.1, -0.92), (mast + 0.1, deck - 0.15), (mast + boom, deck - 0.15))
    return [
        Piece("mast", bar(f, (mast, -0.95), (mast, deck + 0.1), 0.06), plain=True),
        Piece("sail", np.minimum(jib, main)),
        Piece("hull", polygon(f, (-1, deck), (1, deck), (0.62, 0.9), (-0.68, 0.9))),
    ]


def _tree(f: Frame, rng: np.random.Generator) -> list[Piece]:
    width, trunk = rng.uniform(0.6, 0.8), rng.uniform(0.1, 0.16)
    if rng.random() < 0.5:
        crown = polygon(f, (-width * 0.6, -0.4), (0, -1), (width * 0.6, -0.4))
        crown = np.minimum(crown, polygon(f, (-width * 0.8, 0), (0, -0.8), (width * 0.8, 0)))
        crown = np.minimum(crown, polygon(f, (-width, 0.45), (0, -0.5), (width, 0.45)))
    else:
        crown = ellipse(f, 0, -0.55, 0.48, 0.45)
        crown = np.minimum(crown, ellipse(f, -width * 0.6, -0.05, 0.42, 0.42))
        crown = np.minimum(crown, ellipse(f, width * 0.6, -0.05, 0.42, 0.42))
    return [
        Piece("trunk", polygon(f, (-trunk, 0), (trunk, 0), (trunk * 1.5, 1), (-trunk * 1.5, 1))),
        Piece("crown", crown),
    ]


def _fish(f: Frame, rng: np.random.Generator) -> list[Piece]:
    height, tail, fin = rng.uniform(0.36, 0.52), rng.uniform(0.35, 0.55), rng.uniform(0.1, 0.3)
    upper = polygon(f, (0.35, 0), (1, -tail), (0.8, 0.05))
    lower = polygon(f, (0.35, 0), (1, tail), (0.8, -0.05))
    return [
        Piece("tail", np.minimum(upper, lower)),
        Piece("fin", polygon(f, (-0.5, -0.2), (0.3, -0.2), (0.35, -height - fin))),
        Piece("body", ellipse(f, -0.25, 0, 0.75, height)),
        Piece("eye", ellipse(f, -0.65, -0.1, 0.11, 0.11), plain=True),
    ]


def _car(f: Frame, rng: np.random.Generator) -> list[Piece]:
    top, slope, wheel = rng.uniform(-0.6, -0.45), rng.uniform(0.15, 0.3), rng.uniform(0.22, 0.27)
    rear, front = rng.uniform(-0.8, -0.6), rng.uniform(0.4, 0.6)
    cabin = polygon(f, (rear, 0), (rear + slope, top), (front - slope, top), (front, 0))
    glass = np.maximum(cabin + 0.12, 0.055 - np.abs(f.ramp(1, 0, -(rear + front) / 2)))
    wheels = np.minimum(ellipse(f, -0.52, 0.36, wheel, wheel), ellipse(f, 0.55, 0.36, wheel, wheel))
    return [
        Piece("cabin", cabin),
        Piece("window", glass, plain=True),
        Piece("body", box(f, 0, 0.12, 1, 0.25, 0.12)),
        Piece("wheels", wheels, plain=True),
        Piece("wheels", wheels + wheel * 0.6, plain=True),
    ]


def _flower(f: Frame, rng: np.random.Generator) -> list[Piece]:
    petals, centre, bend = int(rng.integers(5, 9)), rng.uniform(0.17, 0.24), rng.uniform(-0.2, 0.2)
    stem = bar(f, (0, -0.4), (bend, 0.95), 0.07)
    leaf = ellipse(f, 0.33 + bend / 2, 0.55, 0.32, 0.13, -0.5)
    return [
        Piece("stem", np.minimum(stem, leaf)),
        Piece("petals", rosette(f, 0, -0.4, 0.62, petals, rng.uniform(0.4, 0.6))),
        Piece("centre", ellipse(f, 0, -0.4, centre, centre), plain=True),
    ]


def _cat(f: Frame, rng: np.random.Generator) -> list[Piece]:
    height, spread, eye = rng.uniform(0.65, 0.78), rng.uniform(0.32, 0.42), rng.uniform(0.14, 0.19)
    tip, slit = rng.uniform(0.6, 0.8), rng.uniform(0.05, 0.09)
    left_ear = polygon(f, (-0.84, 0.0), (-tip, -0.95), (-0.1, -0.4))
    right_ear = polygon(f, (0.84, 0.0), (tip, -0.95), (0.1, -0.4))
    pieces = [
        Piece("ears", np.minimum(left_ear, right_ear)),
        Piece("head", ellipse(f, 0, 0.15, 0.88, height)),
    ]
    for part, x in (("left eye", -spread), ("right eye", spread)):
        pieces.append(Piece(part, ellipse(f, x, 0.02, eye, eye), plain=True))
        pieces.append(Piece(part, ellipse(f, x, 0.02, slit, eye), plain=True))
    nose = polygon(f, (-0.16, 0.32), (0.16, 0.32), (0, 0.5))
    return [*pieces, Piece("nose", nose, plain=True)]


def _key(f: Frame, rng: np.random.Generator) -> list[Piece]:
    radius, first, drop = rng.uniform(0.28, 0.36), rng.uniform(0.35, 0.55), rng.uniform(0.3, 0.42)
    centre = -0.9 + radius
    shaft = bar(f, (centre + radius, 0), (0.92, 0), 0.1)
    teeth = np.minimum(
        box(f, first, drop / 2, 0.09, drop / 2), box(f, 0.85, drop / 2, 0.09, drop / 2)
    )
    return [
        Piece("teeth", teeth),
        Piece("shaft", shaft),
        Piece("bow", ring(f, centre, 0, radius, 0.13)),
    ]


def _mushroom(f: Frame, rng: np.random.Generator) -> list[Piece]:
    width, rim, stem = rng.uniform(0.75, 0.98), rng.uniform(-0.1, 0.15), rng.uniform(0.18, 0.28)
    cap = np.maximum(ellipse(f, 0, rim, width, rim + 0.95), f.ramp(0, 1, -rim - 0.12))
    foot = polygon(f, (-stem, 0), (stem, 0), (stem * 1.4, 0.9), (-stem * 1.4, 0.9))
    return [Piece("stem", foot), Piece("cap", cap)]


def _rocket(f: Frame, rng: np.random.Generator) -> list[Piece]:
    width, cut, fin = rng.uniform(0.28, 0.38), rng.uniform(-0.55, -0.4), rng.uniform(0.55, 0.72)
    # The hull is what two circles share: `width` wide and pointed at y = -1.
    height = 0.95
    offset = (height**2 - width**2) / (2 * width)
    radius = offset + width
    hull = np.maximum(
        ellipse(f, -offset, -0.05, radius, radius), ellipse(f, offset, -0.05, radius, radius)
    )
    hull = np.maximum(hull, f.ramp(0, 1, -0.6))
    left = polygon(f, (-0.1, 0.05), (-fin, 0.55), (-fin, 0.8), (-0.1, 0.55))
    right = polygon(f, (0.1, 0.05), (fin, 0.55), (fin, 0.8), (0.1, 0.55))
    return [
        Piece("flame", polygon(f, (-0.2, 0.55), (0.2, 0.55), (0, rng.uniform(0.9, 1.1)))),
        Piece("fins", np.minimum(left, right)),
        Piece("body", hull),
        Piece("nose", np.maximum(hull, f.ramp(0, 1, -cut))),
        Piece("window", ellipse(f, 0, -0.12, 0.15, 0.15), plain=True),
    ]


def _umbrella(f: Frame, rng: np.random.Generator) -> list[Piece]:
    rim, scallops, hook = rng.uniform(-0.05, 0.1), int(rng.integers(3, 6)), rng.uniform(0.15, 0.2)
    x = f.ramp(scallops / 2, 0, scallops / 2)
    arch = x - np.floor(x) - 0.5
    edge = f.ramp(0, 1, -rim) - (arch * arch - 0.25) * 0.7
    canopy = np.maximum(ellipse(f, 0, rim, 1, rim + 0.85), edge)
    half_ring = np.maximum(ring(f, hook, 0.75, hook, 0.065), f.ramp(0, -1, 0.75))
    handle = np.minimum(bar(f, (0, -0.95), (0, 0.75), 0.065), half_ring)
    return [Piece("handle", handle, plain=True), Piece("canopy", canopy)]


def _butterfly(f: Frame, rng: np.random.Generator) -> list[Piece]:
    tilt, upper, lower = rng.uniform(0.4, 0.7), rng.uniform(0.52, 0.6), rng.uniform(0.33, 0.42)
    pieces = []
    for part, y, length, turn in (
        ("lower wings", 0.42, lower, math.pi / 4),
        ("upper wings", -0.3, upper, -tilt),
    ):
        x = length * 0.85
        wings = np.minimum(
            ellipse(f, x, y, length, length * 0.68, turn),
            ellipse(f, -x, y, length, length * 0.68, -turn),
        )
        pieces.append(Piece(part, wings))
    feelers = np.minimum(
        bar(f, (0, -0.5), (-0.22, -0.92), 0.045), bar(f, (0, -0.5), (0.22, -0.92), 0.045)
    )
    body = bar(f, (0, -0.48), (0, 0.6), 0.11)
    return [*pieces, Piece("body", np.minimum(body, feelers), plain=True)]


CLASSES: dict[str, ShapeClass] = {
    "boat": ShapeClass(("sail", "mast", "hull"), _boat),
    "butterfly": ShapeClass(("upper wings", "lower wings", "body"), _butterfly),
    "car": ShapeClass(("cabin", "window", "body", "wheels"), _car),
    # Not mirrored: its left eye is the one on the left of the picture.
    "cat": ShapeClass(("ears", "head", "left eye", "right eye", "nose"), _cat, mirrored=False),
    "fish": ShapeClass(("body", "tail", "fin", "eye"), _fish),
    "flower": ShapeClass(("petals", "centre", "stem"), _flower),
    "house": ShapeClass(("roof", "wall", "door", "window"), _house),
    "key": ShapeClass(("bow", "shaft", "teeth"), _key),
    "mushroom": ShapeClass(("cap", "stem"), _mushroom),
    "rocket": ShapeClass(("nose", "body", "window", "fins", "flame"), _rocket),
    "tree": ShapeClass(("crown", "trunk"), _tree),
    "umbrella": ShapeClass(("canopy", "handle"), _umbrella),
}
