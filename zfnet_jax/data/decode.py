"""From a file's bytes to the square frame that the network's crops are cut from.

Zeiler & Fergus 2014, section 3: the short side is resized to 256 and the centre 256x256 is kept.
The two steps are one here: the largest centred square of the picture is resampled to the frame, so
a picture of 1 x 50000 pixels costs no more than its middle pixel. What the values of a file mean is
said in `pixel_modes`.

A small file can hold a picture that takes gigabytes or minutes to decode. `MAX_SIDE`, `MAX_PIXELS`,
`MAX_BYTES` and `MAX_SCANNED_PIXELS` are checked on the header, before any pixel is decoded.
"""

import contextlib
import errno
import importlib
import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, ROWSPERSTRIP, TILELENGTH, TILEWIDTH

from zfnet_jax.data.pixel_modes import (
    HELD_BYTES,
    TRANSPARENT_COLOUR_BYTES,
    Averageable,
    UnreadableImage,
    averageable,
    expect_filled_colours,
    expect_known_values,
    has_deep_colours,
    tiff_tags,
)

RULES = 2
"""The version of what is read, refused and how: kept outcomes of another one are not used."""

MAX_SIDE = 65_535
"""The longest side, in pixels: JPEG's own limit. Pillow keeps a pointer for each row, and decoders
work row by row, so that a picture of 1 x 256,000,000 takes gigabytes and a minute."""

MAX_PIXELS = 256_000_000
"""The most pixels, which bounds the time: two to three seconds as PNG. The largest photographs
have 200 million."""

MAX_BYTES = 2**30
"""The most memory that decoding may take, in bytes, for each thread: `MAX_PIXELS` as RGB."""

MAX_SCANNED_PIXELS = 10 * MAX_PIXELS
"""The most pixels times scans of a JPEG: the ten scans that libjpeg writes, of the largest picture.

A progressive JPEG may visit all its pixels in any number of scans, each of a few bytes: 400 scans
of 8,000 x 8,000 pixels take 289 KB and a minute."""


def _register_heif() -> bool:
    """Adds the reader of HEIC pictures, as iPhones take them, where pillow-heif is installed."""
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    plugin.register_heif_opener(decode_threads=1)  # Pictures are decoded side by side already.
    return True


Image.init()  # Loads the readers; which there are depends on how Pillow was built.
HAS_HEIF = _register_heif()
"""Whether HEIC pictures can be read."""

FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
    if name in Image.OPEN
)
"""Pillow's readers that are tried: pictures only; its EPS reader, for one, starts Ghostscript."""

# What a format's decoder holds beside the picture, in bytes for each pixel and band, measured as
# the peak of the process's memory and rounded up.
_DECODER_BYTES = {"WEBP": 4, "JPEG2000": 7, "AVIF": 3, "HEIF": 2}
_JPEG_FORMATS = ("JPEG", "MPO")  # MPO is a JPEG with further pictures behind it.
_COEFFICIENT_BYTES = 2  # Of a JPEG with more than one scan, all of which is kept until the last.

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Of HEIC pictures, which are named where they cannot be read."""

# The first box of a HEIC file names its brands; AVIF files have others.
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Any JPEG marker but restarts; 0xFF 0x00 is a value of the compressed data.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"

# Pillow's own limit is half a warning and half an error; `_expect_within_limits` checks ours
# instead. What Pillow warns about (a damaged EXIF block, mostly) does not touch the pixels, and a
# local catch_warnings is not thread-safe.
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


def decode(image: bytes | np.ndarray, frame: int) -> np.ndarray:
    """Decodes a picture, resizes its short side to `frame` and keeps the centre square.

    Zeiler & Fergus 2014, section 3. EXIF orientation is applied; pictures of every mode become RGB
    by the table in `pixel_modes`; transparency is laid on white; of an animation the first picture
    is taken. Thread-safe; the work runs outside Python's lock.

    Args:
      image: an encoded file, in one of `FORMATS`, or a raw (H, W, 3) uint8 array.
      frame: height and width of the result, in pixels, at least 1.

    Returns:
      (frame, frame, 3) uint8, RGB.

    Raises:
      UnreadableImage: not a picture, truncated, beyond a limit of this module, or with values of
        unknown meaning.
      ValueError: `image` is an array of another shape or dtype.
      OSError: there is not enough memory at the moment.
    """
    if isinstance(image, np.ndarray):
        return _square(averageable(_from_array(image)), frame)
    try:
        picture = open_picture(image)
        deep = has_deep_colours(picture)
        picture.draft(None, (_REDUCING_GAP * frame, _REDUCING_GAP * frame))
        with _refusing_damage(picture.format):
            picture.load()
            if deep:
                expect_filled_colours(picture)
            return _square(averageable(picture), frame, _orientation(picture))
    except MemoryError as error:  # No fault of the file's, which may be read another time.
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error


def open_picture(encoded: bytes) -> ImageFile:
    """Reads the header of a picture, and checks the limits; its pixels are not decoded yet.

    Args:
      encoded: a file's bytes.

    Raises:
      UnreadableImage: not a picture, beyond a limit of this module, or with values of unknown
        meaning.
    """
    if not encoded:
        raise UnreadableImage("the file is empty")
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise UnreadableImage(_why_unidentified(encoded)) from None
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImage(f"damaged header: {_one_line(error)}") from error
    with _refusing_damage(picture.format):
        _expect_within_limits(picture, encoded)
        expect_known_values(picture)
    return picture


@contextlib.contextmanager
def _refusing_damage(form: str | None) -> Iterator[None]:
    """Makes one error of those that Pillow raises: whatever the damage makes its readers trip over.

    Raises:
      UnreadableImage: the file is damaged.
    """
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        raise UnreadableImage(f"damaged {form} file: {_one_line(error)}") from error


def _why_unidentified(encoded: bytes) -> str:
    if encoded[4:8] == b"ftyp" and encoded[8:12] in _HEIF_BRANDS:
        if not HAS_HEIF:
            return "a HEIC picture; expected pillow-heif: pip install 'zfnet-jax[heic]'"
        return "damaged HEIF file"
    if encoded.startswith(_TIFF_MAGIC):
        return "a TIFF file that is damaged, or whose pixels are of a kind that cannot be read"
    return "not a picture in a known format"


def _expect_within_limits(picture: Image.Image, encoded: bytes) -> None:
    """Raises UnreadableImage where decoding would take too much memory or time."""
    width, height = picture.size
    tags = tiff_tags(picture)  # A tile may be larger than its picture.
    for across, down in ((width, height), (tags.get(TILEWIDTH, 0), tags.get(TILELENGTH, 0))):
        if max(across, down) > MAX_SIDE:
            raise UnreadableImage(
                f"{across} x {down} pixels, expected sides of at most {MAX_SIDE:,}"
            )
        if across * down > MAX_PIXELS:
            raise UnreadableImage(f"{across} x {down} pixels, expected at most {MAX_PIXELS:,}")
    scans = _count_scans(encoded) if picture.format in _JPEG_FORMATS else 1
    if scans > 1 and scans * width * height > MAX_SCANNED_PIXELS:
        raise UnreadableImage(
            f"{scans} scans of {width} x {height} pixels, expected at most "
            f"{MAX_SCANNED_PIXELS // (width * height)} for this size"
        )
    held = width * height * _bytes_per_pixel(picture, scans) + _block_bytes(picture, tags)
    if held > MAX_BYTES:
        raise UnreadableImage(
            f"{width} x {height} pixels in mode {picture.mode} of {picture.format} take "
            f"{held / 2**30:.1f} GiB of memory to decode, expected at most {MAX_BYTES / 2**30:g}"
        )


def _bytes_per_pixel(picture: Image.Image, scans: int) -> int:
    """The memory for each pixel: of the picture, of copies in other modes, of the decoder."""
    bands = len(picture.getbands())
    held = HELD_BYTES[picture.mode] + _DECODER_BYTES.get(picture.format or "", 0) * bands
    if "transparency" in picture.info:
        held += TRANSPARENT_COLOUR_BYTES
    return held + (_COEFFICIENT_BYTES * bands if scans > 1 else 0)


def _block_bytes(picture: Image.Image, tags: Mapping[int, Any]) -> int:
    """What libtiff holds of a compressed TIFF at a time: a strip, or a tile."""
    if picture.info.get("compression") == "raw":
        return 0
    width, height = picture.size
    across = tags.get(TILEWIDTH, width)
    down = tags.get(TILELENGTH, min(tags.get(ROWSPERSTRIP, height), height))
    return across * down * sum(tags.get(BITSPERSAMPLE, (0,))) // 8


def _count_scans(jpeg: bytes) -> int:
    """How many scans a JPEG has: its headers are walked over, since a thumbnail has its own."""
    scans, position = 0, 2
    while marker := _JPEG_MARKER.search(jpeg, position):
        if marker[1] == _END_OF_IMAGE:
            break
        scans += marker[1] == _START_OF_SCAN
        length = int.from_bytes(jpeg[marker.end() : marker.end() + 2])
        position = marker.end() + max(length, 2)
    return scans


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(
            f"expected a raw image of shape (H, W, 3) and dtype uint8, "
            f"got {pixels.shape} {pixels.dtype}"
        )
    return Image.fromarray(pixels)


def _square(source: Averageable, frame: int, orientation: int = 1) -> np.ndarray:
    """Resamples the largest centred square of a picture, (frame, frame, 3) uint8."""
    width, height = source.picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # Pillow reduces by whole factors in all modes but this.
    gap = None if source.picture.mode == "I;16" else _REDUCING_GAP
    small = source.picture.resize(
        (frame, frame), _FILTER, (left, top, left + side, top + side), reducing_gap=gap
    )
    # A centred square turns about its own centre: turning the small result is enough.
    if orientation in _TRANSPOSITIONS:
        small = small.transpose(_TRANSPOSITIONS[orientation])
    return source.to_rgb(small)


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; loading must come first, since it applies a TIFF's own."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # A damaged EXIF block says nothing about the pixels.
        return 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
