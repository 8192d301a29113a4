"""What the values of each of Pillow's pixel modes mean, and how they become 8-bit RGB.

A picture is resampled in values that may be averaged, and only the small result becomes RGB, so
that little memory is held. Modes whose values may not be averaged are converted first.

=================  ============================================  ===================================
mode               what a value means                            how it becomes RGB
=================  ============================================  ===================================
1                  black or white                                converted to L first
L                  grey, 0 to 255                                the grey in each channel
P                  a place in a palette                          its colour, looked up first
RGB                sRGB, 0 to 255                                as it is
RGBX               RGB and a value without meaning               converted to RGB first
CMYK               ink, 0 to 255                                 converted to RGB first
YCbCr              as in JPEG: full range, ITU-R BT.601          converted to RGB first
HSV                hue is an angle, which cannot be averaged     converted to RGB first
LAB                CIE L*a*b*, white point D50, as Photoshop's  by the exact ICC transform
LA, RGBA           grey or RGB with opacity                      premultiplied, then laid on white
La, RGBa           the same, premultiplied already               laid on white
PA                 a place in a palette, with opacity            as RGBA
I;16, I (integer)  grey of 8, 10, 12, 14 or 16 bits, see below   the grey divided by its largest
F (float)          grey, 0 to 1                                  255 times the grey
=================  ============================================  ===================================

A colour that a file declares as transparent (`transparency` in Pillow's `info`) makes L, P and RGB
pictures transparent, which is laid on white.

Grey of more than 8 bits: microscopes and X-ray cameras store 10 or 12 bits in 16 without saying so.
So the depth is what the format states (PGM and JPEG 2000 always fill 16 bits; a TIFF may say 12),
and else the smallest of 8, 10, 12, 14 and 16 bits that holds the picture's largest value. What this
rule cannot place is refused by name: negative values, values above 65535, floats outside 0 to 1,
signed 8-bit values, and 16-bit colours that fill 14 bits or fewer, since Pillow keeps the upper 8
bits alone. ICC profiles and gamma are not applied.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

BACKGROUND = 255
"""What transparent pixels are laid on: white, as most programs and pages show them."""

GREY_DEPTHS = (8, 10, 12, 14, 16)
"""The bits that cameras give a grey value."""

_FULL_RANGE_FORMATS = ("PPM", "JPEG2000")  # Pillow's readers scale their values to 16 bits.
_WHITE_IS_ZERO, _SEPARATE_PLANES, _SIGNED = 0, 2, 2  # As TIFF numbers them.

HELD_BYTES = {
    "1": 2,
    "L": 1,
    "P": 5,
    "RGB": 4,
    "RGBX": 8,
    "CMYK": 8,
    "YCbCr": 8,
    "HSV": 8,
    "LAB": 4,
    "LA": 8,
    "RGBA": 8,
    "La": 4,
    "RGBa": 4,
    "PA": 12,
    "I;16": 2,
    "I;16L": 6,
    "I;16B": 6,
    "I;16N": 6,
    "I": 4,
    "F": 4,
}
"""By mode, the bytes a pixel that the picture and the copies made here take together."""

TRANSPARENT_COLOUR_BYTES = 8
"""What a declared transparent colour adds to them: the picture as RGBA, and premultiplied."""


class UnreadableImage(ValueError):
    """A picture that cannot be decoded; the message is the reason, in one line, without a name."""


class Averageable(NamedTuple):
    """A picture in values that may be averaged.

    Attributes:
      picture: the picture.
      to_rgb: takes the picture, resampled to (H, W), to (H, W, 3) uint8 RGB.
    """

    picture: Image.Image
    to_rgb: Callable[[Image.Image], np.ndarray]


def averageable(picture: Image.Image) -> Averageable:
    """Brings a picture of any mode to values that may be averaged, by the table of this module.

    Args:
      picture: a loaded picture.

    Raises:
      UnreadableImage: it is not known what its values mean.
    """
    mode = picture.mode
    if mode.startswith("I"):
        return _deep_grey(picture)
    if mode == "F":
        return _float_grey(picture)
    if mode == "LAB":
        return Averageable(picture, _lab_to_rgb)
    if mode in ("La", "RGBa"):
        return Averageable(picture, _on_background)
    if mode in ("LA", "RGBA"):
        return Averageable(picture.convert(f"{mode[:-1]}a"), _on_background)
    if picture.has_transparency_data:
        return Averageable(picture.convert("RGBA").convert("RGBa"), _on_background)
    if mode == "1":
        return Averageable(picture.convert("L"), _plain)
    return Averageable(picture if mode in ("L", "RGB") else picture.convert("RGB"), _plain)


def expect_known_values(picture: Image.Image) -> None:
    """Refuses a TIFF whose values Pillow takes for others, from its header alone.

    Raises:
      UnreadableImage: the values are signed and of 8 bits, or colours of more bits in planes.
    """
    bits = max(tiff_tags(picture).get(BITSPERSAMPLE, (8,)))
    if picture.mode == "L" and _SIGNED in tiff_tags(picture).get(SAMPLEFORMAT, ()):
        raise UnreadableImage("signed 8-bit grey values, expected 0 to 255")
    if bits > 8 and tiff_tags(picture).get(PLANAR_CONFIGURATION) == _SEPARATE_PLANES:
        raise UnreadableImage(f"{bits}-bit colours in separate planes, expected 8 bits")


def has_deep_colours(picture: ImageFile) -> bool:
    """Whether a file's colours have 16 bits, of which Pillow keeps 8; asked before loading."""
    return len(picture.getbands()) > 1 and any(";16" in str(tile[3]) for tile in picture.tile)


def expect_filled_colours(picture: Image.Image) -> None:
    """Refuses colours of 16 bits that do not fill them: 12 bits would turn out almost black.

    Args:
      picture: a loaded picture whose file has 16-bit colours.

    Raises:
      UnreadableImage: no value is above 14 bits.
    """
    bands = zip(picture.getbands(), _extremes(picture), strict=True)
    largest = max(high for band, (_, high) in bands if band not in "Aa")
    if largest < 1 << 14 - 8:
        raise UnreadableImage("16-bit colours that fill 14 bits or fewer, expected up to 65,535")


def tiff_tags(picture: Image.Image) -> Mapping[int, Any]:
    """A TIFF's tags; other formats have none."""
    return picture.tag_v2 if isinstance(picture, TiffImageFile) else {}


def _extremes(picture: Image.Image) -> np.ndarray:
    """The lowest and the highest value of each band, (bands, 2) float64."""
    return np.reshape(picture.getextrema(), (-1, 2)).astype(np.float64)


def _deep_grey(picture: Image.Image) -> Averageable:
    values = picture if picture.mode in ("I", "I;16") else picture.convert("I")
    ((lowest, highest),) = _extremes(values)
    if lowest < 0 or highest > 65535:
        raise UnreadableImage(
            f"grey values from {lowest:,.0f} to {highest:,.0f}, expected 0 to 65,535 at most"
        )
    largest = (1 << _depth(picture, int(highest))) - 1
    inverted = tiff_tags(picture).get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO

    def to_rgb(small: Image.Image) -> np.ndarray:
        grey = np.asarray(small).astype(np.float32) * (255 / largest)
        return _three_times(255 - grey if inverted else grey)

    return Averageable(values, to_rgb)


def _depth(picture: Image.Image, largest: int) -> int:
    """How many bits a grey picture's values have, by the rule of this module."""
    if picture.format in _FULL_RANGE_FORMATS:
        return 16
    (stated,) = tiff_tags(picture).get(BITSPERSAMPLE, (16,))
    if stated < 16:
        return stated
    return next(bits for bits in GREY_DEPTHS if largest < 1 << bits)


def _float_grey(picture: Image.Image) -> Averageable:
    ((lowest, highest),) = _extremes(picture)
    if not (lowest >= 0 and highest <= 1):
        raise UnreadableImage(
            f"floating-point grey values from {lowest:g} to {highest:g}, expected 0 to 1"
        )

    def to_rgb(small: Image.Image) -> np.ndarray:
        grey = np.asarray(small)
        if np.isnan(grey).any():
            raise UnreadableImage("floating-point grey values that are no numbers")
        return _three_times(grey * 255)

    return Averageable(picture, to_rgb)


def _lab_to_rgb(small: Image.Image) -> np.ndarray:
    # Without this flag a table of 8 bits stands in for the transform, and is off by up to 34.
    exact = ImageCms.Flags.NOOPTIMIZE
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(*profiles, "LAB", "RGB", flags=exact)
    rgb = ImageCms.applyTransform(small, transform)
    assert rgb is not None, "it is not done in place"
    return np.asarray(rgb)


def _plain(small: Image.Image) -> np.ndarray:
    return np.asarray(small.convert("RGB"))


def _on_background(small: Image.Image) -> np.ndarray:
    values = np.asarray(small).astype(np.float32)
    *_, opacity = np.moveaxis(values, -1, 0)
    colours = values[..., :-1] + (BACKGROUND * (1 - opacity / 255))[..., None]
    return _to_8_bits(np.broadcast_to(colours, (*opacity.shape, 3)))


def _three_times(grey: np.ndarray) -> np.ndarray:
    return np.repeat(_to_8_bits(grey)[..., None], 3, axis=-1)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
