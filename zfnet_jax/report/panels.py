"""The paper's Fig 2 as a picture: for each map its projections on grey beside the image patches."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zfnet_jax.report.pictures import enlarge, signed_to_pixels, symmetric_scale, tile

Scale = Literal["shared", "map", "patch"]

QUANTILE = 0.995
"""A tile's few strongest pixels clip: they are so rare that the rest would be grey in grey."""

MISSING = 242
"""The grey of a place that no picture fills, 0..255; the pages' --missing."""

_INK = (60, 60, 60)
_SHEET_WIDTH = 1000  # pixels that a sheet of few tiles is to fill
_NARROWEST_TILE, _WIDEST_TILE = 84, 224
_CAPTION = 20  # pixels
_MARGIN = 14


def scales(projections: np.ndarray, scale: Scale) -> np.ndarray:
    """The magnitude that each tile shows as black or white, symmetric around zero.

    Args:
      projections: (M, k, H, W, 3) float.
      scale: one for the figure ("shared"), for each map ("map"), or for each tile ("patch").

    Returns:
      (M, k) float.
    """
    maps, top = projections.shape[:2]
    if scale == "shared":
        return np.full((maps, top), symmetric_scale(projections, QUANTILE))
    if scale == "map":
        return np.repeat([[symmetric_scale(rows, QUANTILE)] for rows in projections], top, axis=1)
    return np.array([[symmetric_scale(patch, QUANTILE) for patch in rows] for rows in projections])


def signed_tiles(projections: np.ndarray) -> np.ndarray:
    """Projections, (E, H, W, 3) float, as uint8 pixels, each at its own scale."""
    return np.stack([signed_to_pixels(one, symmetric_scale(one, QUANTILE)) for one in projections])


def filters_beside_patches(
    kernel: np.ndarray, patches: np.ndarray, filled: Sequence[int], width: int = 1400
) -> np.ndarray:
    """The first layer of Zeiler & Fergus 2014, Fig 2: its filters, and each one's patches.

    Args:
      kernel: (size, size, 3, M) float; filters that read RGB.
      patches: (M, k, size, size, 3) uint8.
      filled: M counts, how many of its k places each filter fills.
      width: about how wide the picture is to be, in pixels.

    Returns:
      One picture, uint8: all filters, scaled jointly, and in the same grid all mosaics of patches.
    """
    filters = np.moveaxis(kernel, -1, 0)
    size, places = kernel.shape[0], patches.shape[1]
    side = math.ceil(math.sqrt(places))
    rows = math.ceil(places / side)
    columns = math.ceil(math.sqrt(len(filters)))
    factor = max(1, width // (columns * ((side + rows) * size + 2)))
    # A filter is as high as its mosaic, which has fewer rows than columns for some numbers.
    shown = enlarge(signed_to_pixels(filters, symmetric_scale(filters)), rows * factor)
    mosaics = [
        enlarge(mosaic(tiles[:count], places, size, gap=0), factor)
        for tiles, count in zip(patches, filled, strict=True)
    ]
    left, right = (tile(half, columns, gap=max(2, factor)) for half in (shown, mosaics))
    space = np.full((left.shape[0], 2 * _MARGIN, 3), 255, np.uint8)
    sheet = np.concatenate([left, space, right], axis=1)
    return np.pad(sheet, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)


def caption(
    layer: str, number: int, top: Sequence[Mapping[str, Any]], titles: Sequence[str] = ()
) -> str:
    """The line above a feature map in a panel.

    Args:
      layer: the layer's name.
      number: the map's.
      top: its top-k units with "value", and "scale" from `scales`; none for a dead map.
      titles: the classes, where the layer's maps are classes.

    Returns:
      Which map it is, its strongest activation and the magnitude of black and white.
    """
    title = titles[number] if titles else f"{layer} map {number}"
    if not top:
        return f"{title}: dead, no picture excites it"
    shown = {f"{unit['scale']:.2g}" for unit in top}
    scale = f", black to white ±{shown.pop()}" if len(shown) == 1 else ""
    return f"{title}: strongest {top[0]['value']:.3g}{scale}"


def panel_picture(
    projections: np.ndarray,
    patches: np.ndarray,
    shown_scales: np.ndarray,
    captions: Sequence[str],
    *,
    filled: Sequence[int] | None = None,
    tile_width: int | None = None,
    columns: int | None = None,
) -> np.ndarray:
    """Lays feature maps out as in Zeiler & Fergus 2014, Fig 2.

    Args:
      projections: (M, k, H, W, 3) float, signed.
      patches: (M, k, H, W, 3) uint8.
      shown_scales: (M, k), from `scales`.
      captions: M lines, one above each map.
      filled: M counts, how many of its k places each map fills; all by default.
      tile_width: about how wide a tile is to be, in pixels; by default wider where they are few.
      columns: maps in a row; by default as many as make the sheet about square.

    Returns:
      One picture, uint8.
    """
    maps, top, height, width, _ = patches.shape
    side = math.ceil(math.sqrt(top))
    rows = math.ceil(top / side)
    if columns is None:
        columns = max(1, round(math.sqrt(maps * rows * height / (2 * side * width))))
    columns = min(columns, maps)
    if tile_width is None:
        room = _SHEET_WIDTH // (2 * side * columns)
        tile_width = min(max(room, _NARROWEST_TILE), _WIDEST_TILE)
    factor = max(1, round(tile_width / width))
    gap = max(1, factor // 3)
    space = np.full((rows * (height * factor + gap) - gap, 2 * gap + 2, 3), 255, np.uint8)
    blocks = []
    for number in range(maps):
        count = top if filled is None else filled[number]
        shown = [
            signed_to_pixels(*pair)
            for pair in zip(projections[number, :count], shown_scales[number], strict=False)
        ]
        halves = [
            mosaic([enlarge(picture, factor) for picture in half], top, factor * width, gap)
            for half in (shown, patches[number, :count])
        ]
        block = np.concatenate([halves[0], space, halves[1]], axis=1)
        blocks.append(_captioned(block, captions[number]))
    sheet = tile(blocks, columns, gap=_MARGIN)
    return np.pad(sheet, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)


def mosaic(pictures: Sequence[np.ndarray], places: int, size: int, gap: int) -> np.ndarray:
    """Lays pictures out in a square of places, of which those that are left are `MISSING`.

    Args:
      pictures: at most so many as there are places, (size, size, 3) uint8.
      places: how many there are.
      size: of a place, in pixels.
      gap: between two places, in pixels.

    Returns:
      One picture, uint8.
    """
    missing = np.full((size, size, 3), MISSING, np.uint8)
    tiles = [*pictures, *[missing] * (places - len(pictures))]
    return tile(tiles, math.ceil(math.sqrt(places)), gap)


def _captioned(block: np.ndarray, caption: str) -> np.ndarray:
    image = Image.new("RGB", (block.shape[1], _CAPTION), "white")
    font = ImageFont.load_default(13)
    ImageDraw.Draw(image).text((0, 1), _fitted(caption, font, block.shape[1]), _INK, font)
    return np.concatenate([np.asarray(image), block])


def _fitted(text: str, font: Any, width: int) -> str:
    """The text, cut off at its end where it is wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    ends = (text[:end].rstrip() + "…" for end in range(len(text) - 1, 0, -1))
    return next((cut for cut in ends if font.getlength(cut) <= width), "")


def evolution_tiles(strip: np.ndarray, filled: Sequence[bool]) -> np.ndarray:
    """One map's projections at E epochs as pixels, `MISSING` where no picture excites it.

    Args:
      strip: (E, H, W, 3) float, signed; each tile has its own scale.
      filled: at which of the epochs there is a projection.

    Returns:
      (E, H, W, 3) uint8.
    """
    shown = np.asarray(filled, bool)[:, None, None, None]
    return np.where(shown, signed_tiles(strip), np.uint8(MISSING))


def evolution_picture(
    strips: Mapping[str, np.ndarray],
    filled: Mapping[str, np.ndarray],
    epochs: Sequence[int],
    *,
    tile_width: int = 84,
) -> np.ndarray:
    """Zeiler & Fergus 2014, Fig 4: rows of maps, columns of epochs, a block for each layer.

    Args:
      strips: by layer, (M, E, H, W, 3) float, signed; each tile has its own scale.
      filled: by layer, (M, E) bool, where there is a projection.
      epochs: E numbers, written above the columns.
      tile_width: about how wide a tile is to be, in pixels.

    Returns:
      One picture, uint8; the layers from left to right.
    """
    blocks = []
    for layer, strip in strips.items():
        factor = max(1, round(tile_width / strip.shape[3]))
        rows = [evolution_tiles(*row) for row in zip(strip, filled[layer], strict=True)]
        tiles = [enlarge(pixels, factor) for row in rows for pixels in row]
        columns = [
            _captioned(np.full((1, tiles[0].shape[1], 3), 255, np.uint8), str(epoch))
            for epoch in epochs
        ]
        block = np.concatenate([tile(columns, len(epochs)), tile(tiles, len(epochs))])
        blocks.append(_captioned(block, f"{layer}, after epoch"))
    height = max(len(block) for block in blocks)
    padded = [
        np.pad(
            block,
            ((0, height - len(block) + _MARGIN), (0, 2 * _MARGIN), (0, 0)),
            constant_values=255,
        )
        for block in blocks
    ]
    sheet = np.concatenate(padded, axis=1)
    return np.pad(sheet, ((_MARGIN, 0), (_MARGIN, 0), (0, 0)), constant_values=255)
