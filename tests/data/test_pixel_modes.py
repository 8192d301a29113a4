"""Each mode of Pillow: what its values mean, in colours that are known without Pillow."""

import io
from collections.abc import Mapping

import numpy as np
import pytest
import tifffile
from PIL import Image

from zfnet_jax.data.decode import decode
from zfnet_jax.data.pixel_modes import HELD_BYTES, UnreadableImage, averageable


def rgb_of(picture: Image.Image) -> list[int]:
    """What a picture of one colour becomes."""
    source = averageable(picture)
    small = source.picture.resize((3, 2), Image.Resampling.BILINEAR, (0, 0, *picture.size))
    rgb = source.to_rgb(small)
    assert rgb.shape == (2, 3, 3)
    assert rgb.dtype == np.uint8
    assert (rgb == rgb[0, 0]).all()
    return rgb[0, 0].tolist()


def tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "value", "rgb"),
    [
        ("1", 1, [255, 255, 255]),
        ("1", 0, [0, 0, 0]),
        ("L", 100, [100, 100, 100]),
        ("RGB", (10, 20, 30), [10, 20, 30]),
        ("RGBX", (10, 20, 30, 7), [10, 20, 30]),
        ("CMYK", (255, 0, 255, 0), [0, 255, 0]),
        ("CMYK", (0, 0, 0, 255), [0, 0, 0]),
        ("YCbCr", (76, 85, 255), [254, 0, 0]),  # ITU-R BT.601's red, rounded to 8 bits
        ("HSV", (170, 255, 255), [0, 0, 255]),  # 240 degrees, of 256 steps
        ("LA", (0, 0), [255, 255, 255]),
        ("LA", (100, 51), [224, 224, 224]),  # 0.2 * 100 + 0.8 * 255
        ("RGBA", (255, 0, 100, 51), [255, 204, 224]),
        ("La", (20, 51), [224, 224, 224]),
        ("RGBa", (51, 0, 20, 51), [255, 204, 224]),
        ("I", 4095, [255, 255, 255]),
        ("I;16", 65535, [255, 255, 255]),
        ("I;16L", 65535, [255, 255, 255]),
        ("I;16B", 65535, [255, 255, 255]),
        ("I;16N", 65535, [255, 255, 255]),
        ("F", 0.4, [102, 102, 102]),
    ],
)
def test_one_colour(mode, value, rgb):
    assert rgb_of(Image.new(mode, (6, 4), value)) == pytest.approx(rgb, abs=1)


def test_palettes():
    for mode in ("P", "PA"):
        picture = Image.new(mode, (6, 4), 1 if mode == "P" else (1, 51))
        picture.putpalette([9, 9, 9, 255, 0, 100])
        expected = [255, 0, 100] if mode == "P" else [255, 204, 224]
        assert rgb_of(picture) == pytest.approx(expected, abs=1)


def test_all_modes_are_in_the_table():
    """Those of Pillow's documentation."""
    usual = "1 L P RGB RGBA CMYK YCbCr LAB HSV I F LA PA RGBX RGBa La I;16 I;16L I;16B I;16N"
    assert set(HELD_BYTES) == set(usual.split())
    for mode in HELD_BYTES:
        assert averageable(Image.new(mode, (2, 2))).picture.size == (2, 2)


@pytest.mark.parametrize(
    ("lab", "rgb"),
    [
        # CIE L*a*b* with D50, of sRGB by its matrix adapted with Bradford's to D50.
        ((29.57, 68.30, -112.03), (0, 0, 255)),
        ((54.29, 80.81, 69.89), (255, 0, 0)),
        ((46.28, -47.55, 48.58), (0, 128, 0)),
        ((53.59, 0.0, 0.0), (128, 128, 128)),
        ((87.8, -79.3, 81.0), (0, 255, 0)),
    ],
)
def test_lab(lab, rgb):
    """Pillow's own conversion makes (22, 7, 252) of the first."""
    stored = np.rint([lab[0] * 2.55, lab[1], lab[2]]).astype(np.int16).astype(np.uint8)
    encoded = tiff(np.broadcast_to(stored, (4, 4, 3)), photometric="cielab")
    # 8 bits of a and b alone are worth up to 11 where a channel of RGB is 0.
    np.testing.assert_allclose(decode(encoded, 2)[0, 0].astype(int), rgb, atol=11)


@pytest.mark.parametrize(
    ("bits", "largest"),
    [(8, 255), (8, 90), (10, 256), (10, 1023), (12, 4095), (14, 4096), (16, 16384), (16, 65535)],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "signed TIFF", "32-bit TIFF"])
def test_the_depth_of_grey_is_the_smallest_that_holds_the_largest_value(bits, largest, form):
    values = np.linspace(0, largest, 64).round().astype(np.uint16)
    pixels = np.tile(values, (64, 1))
    if form == "signed TIFF":
        values = values.clip(max=32767)
        bits, pixels = 14 if largest == 4096 else bits, pixels.clip(max=32767).astype(np.int16)
    encoded = {
        "PNG": png,
        "TIFF": tiff,
        "signed TIFF": tiff,
        "32-bit TIFF": lambda array: tiff(array.astype(np.uint32)),
    }[form](pixels)
    expected = values * (255 / (2**bits - 1))
    np.testing.assert_allclose(decode(encoded, 64)[0, :, 1], expected, atol=0.51)


def test_a_12_bit_picture_is_not_black():
    """Zeros to 4095 in 16 bits, as microscopes and X-ray cameras write them."""
    values = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))
    assert decode(png(values), 64).max() == 255


def test_formats_that_state_their_range():
    dark = np.full((8, 8), 4000, np.uint16)
    pgm = b"P5 8 8 65535\n" + dark.astype(">u2").tobytes()
    assert decode(pgm, 4).max() == round(4000 * 255 / 65535)
    pgm = b"P5 8 8 4095\n" + np.full((8, 8), 4095, ">u2").tobytes()
    assert decode(pgm, 4).max() == 255


def test_12_bits_that_a_tiff_states():
    packed = bytes([0x0F, 0xF0, 0xFF]) * 32  # Two values of 255 in three bytes.
    encoded = tiff(np.zeros((8, 8), np.uint16), photometric="minisblack")
    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        tags = file.pages[0].tags  # pyright: ignore
        bits, start = tags["BitsPerSample"].valueoffset, tags["StripOffsets"].value[0]
    changed = bytearray(encoded)
    changed[bits : bits + 2] = (12).to_bytes(2, "little")
    changed[start : start + len(packed)] = packed
    assert decode(bytes(changed), 4).max() == round(255 * 255 / 4095)


def test_white_is_zero():
    values = np.tile(np.array([0, 4095], np.uint16).repeat(8), (16, 1))
    square = decode(tiff(values, photometric="miniswhite"), 16)
    assert square[0, [0, -1], 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (np.full((8, 8), -5, np.int16), {}, "grey values from -5 to -5, expected 0 to 65,535"),
        (np.full((8, 8), 70_000, np.int32), {}, "grey values from 70,000 to 70,000"),
        (np.full((8, 8), 2, np.float32), {}, "floating-point grey values from 2 to 2, expected 0"),
        (np.full((8, 8), -0.1, np.float32), {}, "floating-point grey values from -0.1"),
        (np.full((8, 8), np.nan, np.float32), {}, "floating-point grey values from nan"),
        (np.zeros((8, 8), np.int8), {}, "signed 8-bit grey values, expected 0 to 255"),
        (
            np.full((8, 8, 3), 4095, np.uint16),
            {"photometric": "rgb"},
            "16-bit colours that fill 14 bits or fewer",
        ),
        (
            np.full((3, 8, 8), 65535, np.uint16),
            {"photometric": "rgb", "planarconfig": "separate"},
            "16-bit colours in separate planes, expected 8 bits",
        ),
        (
            np.zeros((8, 8, 3), np.float32),
            {"photometric": "rgb"},
            "a TIFF file that is damaged",
        ),
        (np.zeros((8, 8), np.float64), {}, "a TIFF file that is damaged"),
    ],
)
def test_values_of_unknown_meaning_are_named(pixels, options: Mapping, reason):
    with pytest.raises(UnreadableImage, match=reason):
        decode(tiff(pixels, **options), 8)


def test_a_float_that_is_no_number_inside():
    pixels = np.zeros((8, 8), np.float32)
    pixels[5, 5] = np.nan
    with pytest.raises(UnreadableImage, match="floating-point grey values that are no numbers"):
        decode(tiff(pixels), 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_colours_that_fill_their_range(order, compression):
    pixels = np.broadcast_to(np.uint16([65535, 32768, 0]), (8, 8, 3))
    encoded = tiff(pixels, photometric="rgb", byteorder=order, compression=compression)
    assert decode(encoded, 4)[0, 0].tolist() == [255, 128, 0]


def test_16_bit_colours_with_opacity():
    pixels = np.broadcast_to(np.uint16([20_000, 0, 0, 65535]), (8, 8, 4))
    encoded = tiff(pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert decode(encoded, 4)[0, 0].tolist() == [20_000 >> 8, 0, 0]
    pixels = np.broadcast_to(np.uint16([4000, 0, 0, 65535]), (8, 8, 4))
    with pytest.raises(UnreadableImage, match="fill 14 bits or fewer"):
        decode(tiff(pixels, photometric="rgb", extrasamples=["unassalpha"]), 4)
