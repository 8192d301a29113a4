"""Where parts are in pictures: files of boxes, and what of them a net's input shows.

A file of boxes is JSON, a list of objects, or CSV with a first line of names. Both have `image`,
the picture's path from a folder, `part`, and `top`, `left`, `height`, `width` in its pixels.
"""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

from zfnet_jax.core.files import read_json

_FIELDS = ("image", "part", "top", "left", "height", "width")


class Box(NamedTuple):
    """A rectangle; in a picture as shown, so after its EXIF orientation."""

    top: float
    left: float
    height: float
    width: float

    @property
    def text(self) -> str:
        """For messages."""
        return (
            f"top {self.top:g}, left {self.left:g}, {self.width:g} x {self.height:g} (width x "
            "height)"
        )


def read_boxes(path: Path) -> dict[str, dict[str, Box]]:
    """Reads a file of boxes.

    Args:
      path: a .csv file, or JSON.

    Returns:
      By part, by image, the box; all parts have the same images, at least two, in one order.

    Raises:
      ValueError: a row is incomplete or double, a part is given for some of the images only, or
        there is one image only, where pairs are compared.
    """
    parts: dict[str, dict[str, Box]] = {}
    images: dict[str, None] = {}
    for number, row in enumerate(_rows(path), 1):
        image, part, box = _parse(path, number, row)
        if image in parts.setdefault(part, {}):
            raise ValueError(f"{path}: {part!r} twice in {image}; expected one box")
        parts[part][image] = box
        images[image] = None
    for part, boxes in parts.items():
        missing = [image for image in images if image not in boxes]
        if missing:
            raise ValueError(
                f"{path}: {part!r} is given for {len(boxes)} of {len(images)} images and not for "
                f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; expected all"
            )
    if len(images) < 2:
        raise ValueError(f"{path}: boxes in {len(images)} images; expected 2 or more, to compare")
    return {part: {image: boxes[image] for image in images} for part, boxes in parts.items()}


def _rows(path: Path) -> list[Any]:
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    rows = read_json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of boxes, found {type(rows).__name__}")
    return rows


def _parse(path: Path, number: int, row: Any) -> tuple[str, str, Box]:
    try:
        image, part = str(row["image"]), str(row["part"])
        box = Box(*(float(row[field]) for field in Box._fields))
    except (KeyError, TypeError, ValueError):
        shown = json.dumps(row, default=str)[:200]
        raise ValueError(
            f"{path}, box {number}: {shown}; expected {', '.join(_FIELDS)}, the last four numbers"
        ) from None
    if not (image and part):
        raise ValueError(f"{path}, box {number}: expected the name of an image and of a part")
    return image, part, box


def in_input(box: Box, picture: tuple[int, int], frame: int, size: int) -> Box:
    """Where a box of a picture lies in a net's input, in whole pixels of it.

    The picture's largest centred square becomes the frame, and the frame's centre the input.

    Args:
      box: in pixels of the picture.
      picture: its (height, width).
      frame: the frame's side, in pixels.
      size: the input's.

    Raises:
      ValueError: the box is empty, or reaches outside the picture or what the net sees of it.
    """
    high, wide = picture
    bottom, right = box.top + box.height, box.left + box.width
    # Comparisons are written so that NaN fails them.
    if not (box.height > 0 and box.width > 0):
        raise ValueError(f"{box.text}: expected a height and a width above 0")
    if not (box.top >= 0 and box.left >= 0 and bottom <= high and right <= wide):
        raise ValueError(
            f"{box.text}: expected a box inside the picture, which is {wide} x {high} pixels"
        )
    side = min(high, wide)
    scale, margin = frame / side, (frame - size) // 2
    corner = (high - side) / 2, (wide - side) / 2
    top, left, bottom, right = (
        round((edge - corner[axis % 2]) * scale - margin)
        for axis, edge in enumerate((box.top, box.left, bottom, right))
    )
    if min(top, left) < 0 or max(bottom, right) > size:
        first = [margin / scale + offset for offset in corner]
        raise ValueError(
            f"{box.text}: expected a box inside what the net sees of the picture, rows "
            f"{first[0]:.0f} to {first[0] + size / scale:.0f} and columns {first[1]:.0f} to "
            f"{first[1] + size / scale:.0f}"
        )
    if bottom == top or right == left:
        raise ValueError(f"{box.text}: expected a box of a pixel or more of the net's input")
    return Box(top, left, bottom - top, right - left)
