import contextlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from zfnet_jax.data.decode import (
    FORMATS,
    HAS_HEIF,
    MAX_PIXELS,
    _count_scans,
    _expect_within_limits,
    decode,
    open_picture,
)
from zfnet_jax.data.pixel_modes import UnreadableImage

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)

GREY, TRUE_COLOUR, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's numbers.


def encode(picture: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def photo(width: int = 300, height: int = 200) -> Image.Image:
    """Smooth colours with some grain: compresses like a photograph."""
    rows, cols = (np.arange(side, dtype=np.float32) / 40 for side in (height, width))
    rows = rows[:, None]
    waves = np.empty((height, width, 3), np.float32)
    waves[..., 0], waves[..., 1], waves[..., 2] = np.sin(rows + cols), np.cos(rows), np.sin(cols)
    waves += 0.05 * np.random.default_rng(0).standard_normal(waves.shape, np.float32)
    return Image.fromarray((128 + 100 * waves).clip(0, 255).astype(np.uint8))


def quarters() -> Image.Image:
    """Red and green above, blue and white below."""
    picture = Image.new("RGB", (64, 64), WHITE)
    for colour, corner in ((RED, (0, 0)), (GREEN, (32, 0)), (BLUE, (0, 32))):
        picture.paste(colour, (*corner, corner[0] + 32, corner[1] + 32))
    return picture


def png_header(width: int, height: int, bits: int = 8, colour: int = TRUE_COLOUR) -> bytes:
    """A PNG that says how large it is and holds no more than a few bytes of pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    chunks += [(b"PLTE", bytes(768))] if colour == PALETTE else []
    chunks += [(b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def assert_colours(square: np.ndarray, *corners: tuple[int, int, int], within: int = 3) -> None:
    """Compares the pixels near the corners: above left and right, below left and right."""
    near, far = len(square) // 8, -len(square) // 8
    got = square[[near, near, far, far], [near, far, near, far]].astype(int)
    np.testing.assert_allclose(got, np.array(corners), atol=within)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (97, 97), (1200, 900), (50, 40)])
@pytest.mark.parametrize("frame", [1, 64, 146])
def test_shape_and_type(size, frame):
    square = decode(encode(photo(*size), "JPEG"), frame)
    assert square.shape == (frame, frame, 3)
    assert square.dtype == np.uint8


def test_short_side_then_centre_crop():
    picture = photo(300, 200)
    left = (round(300 * 64 / 200) - 64) // 2
    expected = picture.resize((96, 64), Image.Resampling.BILINEAR).crop((left, 0, left + 64, 64))
    np.testing.assert_array_equal(decode(encode(picture, "PNG"), 64), np.asarray(expected))


def test_a_picture_of_the_frame_size_is_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(pixels), "PNG"), 64), pixels)
    np.testing.assert_array_equal(decode(pixels, 64), pixels)


@pytest.mark.parametrize("size", [(1200, 900), (2400, 1800)])
def test_decoding_a_jpeg_at_a_smaller_scale_is_invisible(size):
    encoded = encode(photo(*size), "JPEG", quality=92)
    in_full = np.asarray(Image.open(io.BytesIO(encoded)))
    difference = np.abs(decode(encoded, 146).astype(int) - decode(in_full, 146))
    assert difference.mean() < 0.5
    assert difference.max() <= 8


def test_arrays_and_files_take_the_same_path():
    picture = photo(321, 200)
    np.testing.assert_array_equal(
        decode(np.asarray(picture), 100), decode(encode(picture, "PNG"), 100)
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "JPEG2000"])
def test_formats(form):
    assert_colours(decode(encode(quarters(), form), 32), RED, GREEN, BLUE, WHITE, within=8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_grey(form):
    grey = Image.linear_gradient("L")
    square = decode(encode(grey, form), 64)
    assert (square == square[..., :1]).all()
    expected = np.asarray(grey.resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(square[..., 0].astype(int), expected, atol=2)


def test_bilevel():
    picture = quarters().convert("L").point(lambda v: 255 * (v > 100)).convert("1")
    black = (0, 0, 0)
    assert_colours(decode(encode(picture, "PNG"), 32), black, black, black, WHITE)


def test_cmyk():
    encoded = encode(quarters().convert("CMYK"), "JPEG", quality=100)
    assert Image.open(io.BytesIO(encoded)).mode == "CMYK"
    assert_colours(decode(encoded, 32), RED, GREEN, BLUE, WHITE, within=8)
    tiff = encode(quarters().convert("CMYK"), "TIFF")
    assert_colours(decode(tiff, 32), RED, GREEN, BLUE, WHITE)


def test_adobe_cmyk_is_stored_inverted():
    encoded = encode(quarters().convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in encoded  # The marker that says so; Pillow stores ink as 255 - ink.
    stored = Image.open(io.BytesIO(encoded))
    stored.tile = [stored.tile[0]._replace(args=("CMYK", ""))]  # Read as it lies in the file.
    assert ImageChops.invert(stored).getpixel((60, 60)) == pytest.approx((0, 0, 0, 0), abs=3)
    assert_colours(decode(encoded, 32), RED, GREEN, BLUE, WHITE, within=8)


def test_palette():
    picture = quarters().quantize(4)
    assert picture.mode == "P"
    assert_colours(decode(encode(picture, "PNG"), 32), RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparency_is_laid_on_white(mode):
    black = (0, 0, 0)
    if mode in ("RGBA", "LA"):
        picture = Image.new(mode, (64, 64), (0,) * len(mode))
        picture.paste((*black, 255) if mode == "RGBA" else (0, 255), (0, 0, 32, 64))
        encoded = encode(picture, "PNG")
    else:
        picture = Image.new("RGB", (64, 64), (9, 9, 9))
        picture.paste(black, (0, 0, 32, 64))
        picture = picture.quantize(2) if mode == "P" else picture.convert(mode)
        colour = picture.getpixel((60, 0))
        encoded = encode(picture, "PNG", transparency=colour)
    assert_colours(decode(encoded, 32), black, WHITE, black, WHITE)


def test_palette_with_one_opacity_a_colour():
    picture = quarters().quantize(4)
    blue = picture.getpixel((0, 60))
    opacities = bytes(0 if index == blue else 255 for index in range(4))
    square = decode(encode(picture, "PNG", transparency=opacities), 32)
    assert_colours(square, RED, GREEN, WHITE, WHITE)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_show_their_first_picture(form):
    frames = [Image.new("RGB", (40, 30), colour) for colour in (BLUE, RED, GREEN)]
    encoded = encode(frames[0], form, save_all=True, append_images=frames[1:])
    assert_colours(decode(encoded, 16), BLUE, BLUE, BLUE, BLUE, within=8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, (RED, GREEN, BLUE, WHITE)),
        (2, (GREEN, RED, WHITE, BLUE)),
        (3, (WHITE, BLUE, GREEN, RED)),
        (4, (BLUE, WHITE, RED, GREEN)),
        (5, (RED, BLUE, GREEN, WHITE)),
        (6, (BLUE, RED, WHITE, GREEN)),
        (7, (WHITE, GREEN, BLUE, RED)),
        (8, (GREEN, WHITE, RED, BLUE)),
    ],
)
def test_exif_orientation(form, orientation, corners):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_colours(decode(encode(quarters(), form, exif=exif), 32), *corners, within=8)


def test_orientation_of_a_picture_that_is_not_square():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = photo(300, 200)
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    difference = decode(encode(picture, "PNG", exif=exif), 64).astype(int) - decode(
        encode(turned, "PNG"), 64
    )
    assert np.abs(difference).max() <= 1  # Rows and columns are rounded in the other order.


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (3, 2)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_extreme_shapes(size, form):
    square = decode(encode(Image.new("RGB", size, BLUE), form), 64)
    assert_colours(square, BLUE, BLUE, BLUE, BLUE)


@pytest.mark.parametrize("size", [(30_000, 30_000), (16_001, 16_000)])
def test_bombs_are_refused_by_size(size):
    with pytest.raises(UnreadableImage, match=f"{size[0]} x {size[1]} pixels.* {MAX_PIXELS:,}"):
        decode(png_header(*size), 64)


@pytest.mark.parametrize("size", [(256_000_000, 1), (1, 256_000_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_sides(size):
    reason = f"{size[0]} x {size[1]} pixels, expected sides of at most 65,535"
    with pytest.raises(UnreadableImage, match=reason):
        decode(png_header(*size), 64)


@pytest.mark.parametrize(
    ("bits", "colour", "reason"),
    [
        (8, RGBA, "15900 x 15900 pixels in mode RGBA of PNG take 1.9 GiB of memory to decode"),
        (8, GREY_ALPHA, "in mode LA of PNG take 1.9 GiB of memory to decode, expected at most 1"),
        (8, PALETTE, "in mode P of PNG take 1.2 GiB"),
        (16, GREY, "damaged PNG"),  # Half a GiB; only its pixels are missing.
        (8, TRUE_COLOUR, "damaged PNG"),
    ],
)
def test_bombs_are_refused_by_their_memory(bits, colour, reason):
    with pytest.raises(UnreadableImage, match=reason):
        decode(png_header(15_900, 15_900, bits, colour), 64)


@pytest.mark.parametrize(
    ("form", "mode", "reason"),
    [
        ("WEBP", "RGB", "16383 x 16383 pixels, expected at most"),
        ("WEBP", "RGB", "12000 x 12000 pixels in mode RGB of WEBP take 2.1 GiB"),
        ("JPEG2000", "RGB", "9000 x 9000 pixels in mode RGB of JPEG2000 take 1.9 GiB"),
        ("AVIF", "RGB", "10000 x 10000 pixels in mode RGB of AVIF take 1.2 GiB"),
        ("GIF", "P", "16000 x 16000 pixels in mode P of GIF take 1.2 GiB"),
    ],
)
def test_memory_of_the_decoders(form, mode, reason):
    if form not in FORMATS:
        pytest.skip(f"this Pillow reads no {form}")
    picture = open_picture(encode(photo(20, 20).convert(mode), form))
    picture._size = tuple(map(int, reason.split(" pixels")[0].split(" x ")))  # As a header says it.
    with pytest.raises(UnreadableImage, match=reason):
        _expect_within_limits(picture, b"")


def of_size(jpeg: bytes, width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG that says that it is larger, with further scans that change nothing."""
    start = jpeg.index(b"\xff\xc2") + 5
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x05\x00"
    header = jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 : -2]
    return header + scan * scans + jpeg[-2:]


def test_bombs_are_refused_by_their_scans():
    jpeg = encode(photo(32, 32), "JPEG", progressive=True)
    with pytest.raises(UnreadableImage, match=r"410 scans of 8000 x 8000.* at most 40 for"):
        decode(of_size(jpeg, 8000, 8000, 400), 64)
    assert decode(of_size(jpeg, 32, 32, 400), 16).shape == (16, 16, 3)


def test_scans_of_a_thumbnail_do_not_count():
    thumbnail = encode(photo(32, 32), "JPEG", progressive=True)
    jpeg = encode(photo(32, 32), "JPEG", progressive=True, exif=b"Exif\0\0" + thumbnail * 9)
    assert _count_scans(thumbnail) == _count_scans(jpeg) == 10
    assert _count_scans(encode(photo(32, 32), "JPEG")) == 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_decoding_holds_no_more_than_the_limit_counts():
    program = """
import io, sys
from PIL import Image
from zfnet_jax.data import decode as module

def kilobytes(key):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key))

for mode in sys.argv[1:]:
    file = io.BytesIO()
    Image.new(mode, (2000, 2000)).save(file, "PNG", compress_level=1)
    encoded = file.getvalue()
    module.decode(encoded, 8)
    counted = module._bytes_per_pixel(module.open_picture(encoded), 1)
    open("/proc/self/clear_refs", "w").write("5")
    before = kilobytes("VmRSS")
    module.decode(encoded, 8)
    assert (kilobytes("VmHWM") - before) * 1024 < 4e6 * (counted + 0.5), mode
"""
    modes = ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"]
    subprocess.run([sys.executable, "-c", program, *modes], check=True)


def test_no_memory_at_the_moment_is_no_damage(monkeypatch):
    def fail(picture):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        decode(encode(photo(8, 8), "PNG"), 8)


def test_large_pictures_below_the_limit_are_not_bombs():
    with pytest.raises(UnreadableImage, match="damaged PNG"):  # Only its pixels are missing.
        decode(png_header(12_000, 10_000), 64)


def test_tiff_tiles_larger_than_the_picture_are_bombs():
    directory = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1)]
    directory += [(322, 60_000), (323, 60_000), (324, 8), (325, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in directory)
    encoded = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(directory)) + entries + bytes(104)
    with pytest.raises(UnreadableImage, match="60000 x 60000 pixels"):
        decode(encoded, 16)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated(form, part):
    encoded = encode(photo(), form)
    with pytest.raises(UnreadableImage) as caught:
        decode(encoded[: int(part * len(encoded))], 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_truncation_is_seen_at_every_frame_size_or_at_none(options):
    encoded = encode(photo(), "JPEG", **options)
    for cut in [*range(1, 20), *range(20, len(encoded), len(encoded) // 20)]:
        outcomes = set()
        for frame in (8, 64, 146):
            try:
                decode(encoded[:-cut], frame)
                outcomes.add("read")
            except UnreadableImage:
                outcomes.add("refused")
        assert len(outcomes) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not a picture"),
        (b"<html><img src=x></html>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
        (bytes(1000), "not a picture"),
    ],
)
def test_not_a_picture(content, reason):
    with pytest.raises(UnreadableImage, match=reason):
        decode(content, 64)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r"shape \(H, W, 3\) and dtype uint8"):
        decode(array, 8)


_SEEDS = [encode(photo(40, 30), form) for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_SEEDS), st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_are_read_or_refused(encoded, data):
    damaged = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableImage):
        assert decode(bytes(damaged), 16).shape == (16, 16, 3)


def test_damaged_exif_is_no_warning_and_no_error(tmp_path):
    entry = struct.pack("<HHHII", 1, 0x011A, 5, 1, 90_000)  # A value far outside the block.
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + entry
    file = tmp_path / "damaged.jpg"
    Image.new("RGB", (64, 64), RED).save(file, exif=exif)
    program = (
        "import sys; from pathlib import Path; from zfnet_jax.data.decode import decode;"
        "decode(Path(sys.argv[1]).read_bytes(), 8); print('read')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("read\n", "")


HEIC_HEADER = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"


@pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
def test_heic():
    square = decode(encode(quarters(), "HEIF", quality=90), 32)
    assert_colours(square, RED, GREEN, BLUE, WHITE, within=8)
    with pytest.raises(UnreadableImage, match="damaged HEIF file"):
        decode(HEIC_HEADER, 32)


def test_heic_without_its_reader(monkeypatch):
    monkeypatch.setattr("zfnet_jax.data.decode.HAS_HEIF", False)
    with pytest.raises(UnreadableImage, match="a HEIC picture; expected pillow-heif"):
        decode(HEIC_HEADER, 32)
