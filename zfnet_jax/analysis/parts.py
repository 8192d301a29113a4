"""Parts of objects as masks in a net's input, to be hidden: of drawn shapes, and marked ones."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from zfnet_jax.analysis.correspondence import box_mask, expect_other_place, other_places
from zfnet_jax.data.decode import decode
from zfnet_jax.data.parts import Box, in_input
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.shapes import Shapes

SEARCHED = 100
"""How many pictures of a class are searched for those that show a part."""


class Part(NamedTuple):
    """A part in some pictures that show it.

    Attributes:
      name: such as "fish eye".
      items: (n,) int, the pictures' numbers in the source.
      masks: (n, size, size) bool, where the part is seen in the net's input.
    """

    name: str
    items: np.ndarray
    masks: np.ndarray


def shape_parts(source: Shapes, frame: int, size: int, count: int) -> Iterator[Part]:
    """The first pictures of each class that show a part whole, with room for it elsewhere.

    Args:
      source: the pictures.
      frame: the side of the net's frame, in pixels.
      size: the side of its input.
      count: how many pictures of each part; a part that too few show has fewer, or none.

    Yields:
      Every part of every class.
    """
    for label, (kind, parts) in enumerate(source.class_parts.items()):
        items: dict[str, list[int]] = {part: [] for part in parts}
        masks: dict[str, list[np.ndarray]] = {part: [] for part in parts}
        for item in np.flatnonzero(source.labels == label)[:SEARCHED].tolist():
            wanted = [part for part in parts if len(items[part]) < count]
            if not wanted:
                break
            scene = source.scene(item)
            for part in wanted:
                whole = _in_frame(scene.part_masks[part], frame)
                seen = centre_view(whole[None], size)[0]
                if seen.any() and seen.sum() == whole.sum() and len(other_places(seen)):
                    items[part].append(item)
                    masks[part].append(seen)
        for part in parts:
            shown = np.array(masks[part], bool).reshape(-1, size, size)
            yield Part(f"{kind} {part}", np.array(items[part], int), shown)


def marked_parts(
    boxes: Mapping[str, Mapping[str, Box]],
    sizes: Mapping[str, tuple[int, int]],
    frame: int,
    size: int,
) -> list[Part]:
    """The parts of a file of boxes, in the pictures that it names.

    Args:
      boxes: by part, by picture, from `data.parts.read_boxes`.
      sizes: the pictures' heights and widths in pixels, by their names, in the order of the source.
      frame: the side of the net's frame, in pixels.
      size: the side of its input.

    Raises:
      ValueError: a box lies outside what the net sees, or fills so much of it that the part has no
        other place.
    """
    parts = []
    for part, marked in boxes.items():
        masks = []
        for name, shape in sizes.items():
            try:
                masks.append(box_mask(in_input(marked[name], shape, frame, size), size))
                expect_other_place(masks[-1])
            except ValueError as error:
                raise ValueError(f"{part!r} in {name}: {error}") from error
        parts.append(Part(part, np.arange(len(sizes)), np.stack(masks)))
    return parts


def _in_frame(mask: np.ndarray, frame: int) -> np.ndarray:
    """A picture's mask in its frame, resized and cropped by the same steps as the picture."""
    picture = np.repeat(np.uint8(255) * mask[..., None], 3, axis=2)
    return decode(picture, frame)[..., 0] >= 128
