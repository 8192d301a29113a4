"""From a file's bytes to the square frame that the network's crops are cut from.

Zeiler & Fergus 2014, section 3: the short side is resized to 256 and the centre 256x256 is kept.
The two steps are one here: the largest centred square of the picture is resampled to the frame, so
a picture of 1 x 50000 pixels costs no more than its middle pixel.
"""

import io
import warnings

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH

MAX_PIXELS = 256_000_000
"""Pictures with more pixels are refused from their header, before any memory is asked for."""

Image.init()  # Loads the readers; which there are depends on how Pillow was built.
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
"""Pillow's readers that are tried: pictures only; its EPS reader, for one, starts Ghostscript."""

BACKGROUND = (255, 255, 255)
"""What transparent pixels are laid on: white, as most programs and pages show them."""

# Pillow's own limit is half a warning and half an error; `_open` checks ours instead. What Pillow
# warns about (a damaged EXIF block, mostly) does not touch the pixels, and a local catch_warnings
# is not thread-safe.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")

# Bilinear with Pillow's antialiasing (a triangle as wide as the reduction), as in most ImageNet
# pipelines; bicubic is a little sharper and makes the whole of decoding 1.3 to 1.4 times slower.
_FILTER = Image.Resampling.BILINEAR

# A reduction by whole factors (in the JPEG decoder, then by box averages) may come first where it
# leaves at least this many source pixels per pixel of the frame, so that the filter still decides.
_REDUCING_GAP = 2

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(ValueError):
    """A picture that cannot be decoded; the message is the reason, in one line, without a name."""


def decode(image: bytes | np.ndarray, frame: int) -> np.ndarray:
    """Decodes a picture, resizes its short side to `frame` and keeps the centre square.

    Zeiler & Fergus 2014, section 3. EXIF orientation is applied; grey, palette and CMYK pictures
    become RGB; 16-bit grey is scaled to 8 bits; transparency is laid on white; of an animation the
    first picture is taken. Thread-safe; the work runs outside Python's lock.

    Args:
      image: an encoded file, in one of `FORMATS`, or a raw (H, W, 3) uint8 array.
      frame: height and width of the result, in pixels, at least 1.

    Returns:
      (frame, frame, 3) uint8, RGB.

    Raises:
      UnreadableImage: not a picture, truncated, or more than `MAX_PIXELS`.
      ValueError: `image` is an array of another shape or dtype.
    """
    if isinstance(image, np.ndarray):
        return _square(_from_array(image), frame)
    picture = _open(image)
    try:
        picture.draft(None, (_REDUCING_GAP * frame, _REDUCING_GAP * frame))
        picture.load()
        square = _square(_to_8_bits(picture), frame, _orientation(picture))
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow raises whatever the damage makes its readers trip over.
        raise UnreadableImage(f"damaged {picture.format} file: {_one_line(error)}") from error
    return square


def _open(encoded: bytes) -> Image.Image:
    """Reads the header alone."""
    if not encoded:
        raise UnreadableImage("the file is empty")
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise UnreadableImage("not a picture in a known format") from None
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImage(f"damaged header: {_one_line(error)}") from error
    tags = getattr(picture, "tag_v2", {})  # TIFF only: a tile may be larger than its picture.
    for width, height in (picture.size, (tags.get(TILEWIDTH, 0), tags.get(TILELENGTH, 0))):
        if width * height > MAX_PIXELS:
            raise UnreadableImage(f"{width} x {height} pixels, expected at most {MAX_PIXELS:,}")
    return picture


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(
            f"expected a raw image of shape (H, W, 3) and dtype uint8, "
            f"got {pixels.shape} {pixels.dtype}"
        )
    return Image.fromarray(pixels)


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Makes it L or RGB, whatever the file stores."""
    if picture.mode in ("L", "RGB") and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):
        grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnreadableImage("32-bit grey values, expected 8 or 16 bits")
        return Image.fromarray(((grey.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if picture.mode == "F":
        raise UnreadableImage("floating-point grey values, expected 8 or 16 bits")
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        background = Image.new("RGBA", picture.size, BACKGROUND)
        return Image.alpha_composite(background, opaque).convert("RGB")
    return picture.convert("RGB")


def _square(picture: Image.Image, frame: int, orientation: int = 1) -> np.ndarray:
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = picture.resize(
        (frame, frame), _FILTER, (left, top, left + side, top + side), reducing_gap=_REDUCING_GAP
    )
    # A centred square turns about its own centre: turning the small result is enough.
    if orientation in _TRANSPOSITIONS:
        square = square.transpose(_TRANSPOSITIONS[orientation])
    return np.asarray(square.convert("RGB"))


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; loading must come first, since it applies a TIFF's own."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # A damaged EXIF block says nothing about the pixels.
        return 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
