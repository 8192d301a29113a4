"""The panels of Zeiler & Fergus 2014, Fig 2: a layer's maps with their strongest units."""

import numpy as np

from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.features.top_units import TopUnits
from zfnet_jax.networks.net import Net
from zfnet_jax.report import panels

# Maps and columns of Fig 2 from its second layer on; further layers are laid out as the last.
_LAYOUT = ((16, 4), (12, 4), (10, 2), (10, 2))


def draw_panel(
    net: Net,
    layer: str,
    top_units: TopUnits,
    projections: ArrayFile,
    patches: ArrayFile,
    seed: int,
) -> tuple[int, np.ndarray, str]:
    """Draws a convolution's panel: of the first all filters, of the others some maps at random.

    Args:
      net: the net.
      layer: a convolution's name.
      top_units: its maps and their strongest units, (M, k).
      projections: of these units, (M, k, field, field, 3) float32.
      patches: of the pictures, (M, k, field, field, 3) uint8.
      seed: of the choice of maps.

    Returns:
      Which of the net's convolutions it is, from 1; the picture, uint8; a caption.
    """
    number = [conv.name for conv in net.architecture.convolutions].index(layer)
    map_numbers, images = top_units.map_numbers, top_units.top.image
    filled, k = (images != NO_IMAGE).sum(axis=1), images.shape[1]
    read = lambda file, rows: np.stack([file.read(int(row) * k, k) for row in rows])
    if number == 0:
        sheet = panels.filters_beside_patches(
            net.rgb_kernel(layer), read(patches, range(len(map_numbers))), filled.tolist()
        )
        return 1, sheet, f"{layer}: filters, and the patches that excite each most"
    count, columns = _LAYOUT[min(number, len(_LAYOUT)) - 1]
    rows = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(filled))[:count])
    if not rows.size:
        rows = np.arange(min(count, len(map_numbers)))  # all are dead, and shown so
    shown = read(projections, rows)
    sheet = panels.panel_picture(
        shown,
        read(patches, rows),
        panels.scales(shown, "map"),
        [f"map {map_numbers[row]}" for row in rows],
        filled=filled[rows].tolist(),
        columns=columns,
    )
    return number + 1, sheet, f"{layer}: {len(rows)} maps at random"
