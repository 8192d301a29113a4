"""How large pictures are, from their headers, and which of them a net sees enlarged."""

from collections.abc import Iterable

import numpy as np
from PIL import ExifTags

from zfnet_jax.core.text import printable
from zfnet_jax.data.decode import open_picture
from zfnet_jax.data.source import Source


def picture_size(image: bytes | np.ndarray) -> tuple[int, int]:
    """The (height, width) of a picture as it is shown, so after its EXIF orientation.

    Args:
      image: an encoded file that `decode` reads, or a raw (H, W, 3) array.
    """
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    with open_picture(image) as picture:
        width, height = picture.size
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (width, height) if turned else (height, width)


def say_enlarged(source: Source, items: Iterable[int], frame: int) -> None:
    """Prints how many of some pictures are smaller than a net's frame, and the first of them."""
    small = []
    for item in items:
        example = source[item]
        height, width = picture_size(example.image)
        if min(height, width) < frame:
            small.append(f"{printable(example.name)} ({width} x {height} pixels)")
    if small:
        are = "1 picture is" if len(small) == 1 else f"{len(small)} pictures are"
        print(f"{are} smaller than the net's {frame}-px frame and enlarged, such as {small[0]}")
