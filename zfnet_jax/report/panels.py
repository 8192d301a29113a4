"""The paper's Fig 2 as a picture: for each map its projections on grey beside the image patches."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zfnet_jax.report.pictures import enlarge, signed_to_pixels, symmetric_scale, tile

Scale = Literal["shared", "map", "patch"]

QUANTILE = 0.995
"""A tile's few strongest pixels clip: they are so rare that the rest would be grey in grey."""

_INK = (60, 60, 60)
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
    return np.stack(
        [signed_to_pixels(each, symmetric_scale(each, QUANTILE)) for each in projections]
    )


def filters_beside_patches(
    kernel: np.ndarray, patches: np.ndarray, width: int = 1400
) -> np.ndarray:
    """The first layer of Zeiler & Fergus 2014, Fig 2: its filters, and each one's patches.

    Args:
      kernel: (size, size, 3, M) float; filters that read RGB.
      patches: (M, k, size, size, 3) uint8.
      width: about how wide the picture is to be, in pixels.

    Returns:
      One picture, uint8: all filters, scaled jointly, and in the same grid all mosaics of patches.
    """
    filters = np.moveaxis(kernel, -1, 0)
    side = math.ceil(math.sqrt(patches.shape[1]))
    columns = math.ceil(math.sqrt(len(filters)))
    factor = max(1, width // (2 * columns * (side * kernel.shape[0] + 1)))
    shown = enlarge(signed_to_pixels(filters, symmetric_scale(filters)), side * factor)
    mosaics = [enlarge(tile(each, side, gap=0), factor) for each in patches]
    left, right = (tile(tiles, columns, gap=max(2, factor)) for tiles in (shown, mosaics))
    space = np.full((left.shape[0], 2 * _MARGIN, 3), 255, np.uint8)
    sheet = np.concatenate([left, space, right], axis=1)
    return np.pad(sheet, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)


def panel_picture(
    projections: np.ndarray,
    patches: np.ndarray,
    shown_scales: np.ndarray,
    captions: Sequence[str],
    *,
    tile_width: int = 84,
    columns: int | None = None,
) -> np.ndarray:
    """Lays feature maps out as in Zeiler & Fergus 2014, Fig 2.

    Args:
      projections: (M, k, H, W, 3) float, signed.
      patches: (M, k, H, W, 3) uint8.
      shown_scales: (M, k), from `scales`.
      captions: M lines, one above each map.
      tile_width: about how wide a tile is to be, in pixels.
      columns: maps in a row; by default as many as make the sheet about square.

    Returns:
      One picture, uint8.
    """
    maps, top, _, width, _ = patches.shape
    factor = max(1, round(tile_width / width))
    side = math.ceil(math.sqrt(top))
    gap = max(1, factor // 3)
    blocks = []
    for each in range(maps):
        tiles = zip(projections[each], shown_scales[each], strict=True)
        left = [signed_to_pixels(projection, scale) for projection, scale in tiles]
        halves = [
            tile([enlarge(picture, factor) for picture in half], side, gap)
            for half in (left, patches[each])
        ]
        space = np.full((halves[0].shape[0], 2 * gap + 2, 3), 255, np.uint8)
        block = np.concatenate([halves[0], space, halves[1]], axis=1)
        blocks.append(_captioned(block, captions[each]))
    if columns is None:
        high, wide = blocks[0].shape[:2]
        columns = max(1, round(math.sqrt(maps * high / wide)))
    sheet = tile(blocks, min(columns, maps), gap=_MARGIN)
    return np.pad(sheet, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)


def _captioned(block: np.ndarray, caption: str) -> np.ndarray:
    image = Image.new("RGB", (block.shape[1], _CAPTION), "white")
    font = ImageFont.load_default(13)
    ImageDraw.Draw(image).text((0, 1), caption, _INK, font)
    return np.concatenate([np.asarray(image), block])


def evolution_picture(
    strips: Mapping[str, np.ndarray], epochs: Sequence[int], *, tile_width: int = 84
) -> np.ndarray:
    """Zeiler & Fergus 2014, Fig 4: rows of maps, columns of epochs, a block for each layer.

    Args:
      strips: by layer, (M, E, H, W, 3) float, signed; each tile has its own scale.
      epochs: E numbers, written above the columns.
      tile_width: about how wide a tile is to be, in pixels.

    Returns:
      One picture, uint8; the layers from left to right.
    """
    blocks = []
    for layer, strip in strips.items():
        factor = max(1, round(tile_width / strip.shape[3]))
        tiles = [enlarge(tile, factor) for row in strip for tile in signed_tiles(row)]
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
