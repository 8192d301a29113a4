"""The paper's Fig 2 as a picture: for each map its projections on grey beside the image patches."""

import math
from collections.abc import Sequence
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
