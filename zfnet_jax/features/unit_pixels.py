"""The top units of feature maps, projected, and cut out of their pictures.

Zeiler & Fergus 2014, section 4. Both passes see each picture that holds a unit once. What is large
goes to files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from tqdm import tqdm

from zfnet_jax.core import signals
from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.features import controls
from zfnet_jax.features.controls import Control
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.features.projection import PAPER, project_all
from zfnet_jax.features.top_units import TopUnits, field_size, image_numbers, unit_box
from zfnet_jax.networks.function import network_input
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.units import Units

OUTSIDE = 225
"""The grey of a patch beyond its picture's edge."""

TOLERANCE = 1e-5
"""How far an activation may be from what mining found, relative, when its image is seen again."""


def project_units_to_files(
    net: Net,
    image_set: ImageSet,
    top_units: Mapping[str, TopUnits],
    folder: Path,
    *,
    control: Control | None = None,
    seed: int = 0,
) -> dict[str, ArrayFile]:
    """Projects the top units of some maps, or a control of them, to files LAYER.npy.

    Args:
      net: the net.
      image_set: the pictures that it was mined on.
      top_units: by layer, the maps and their units.
      folder: where the files go.
      control: what to project in place of the units.
      seed: of the control.

    Returns:
      By layer, (M, k, field, field, 3) float32 in network space; zeros in an entry without an
      image.

    Raises:
      ValueError: an activation is not what mining found.
    """
    files = _create_files(net.architecture, top_units, folder, np.float32)
    for layer, entries, pixels in _projections(net, image_set, top_units, control, seed, PAPER):
        files[layer].write(entries, pixels)
    return files


def cut_patches_to_files(
    net: Net,
    image_set: ImageSet,
    top_units: Mapping[str, TopUnits],
    folder: Path,
    visit: Callable[[int, np.ndarray], None] = lambda number, picture: None,
) -> dict[str, ArrayFile]:
    """Cuts the top units' receptive fields out of the pictures, to files LAYER.npy.

    Args:
      net: the net.
      image_set: the pictures.
      top_units: by layer, the maps and their units.
      folder: where the files go.
      visit: is given each picture that holds a unit once, by its number, as the net sees it:
        (size, size, 3) uint8.

    Returns:
      By layer, (M, k, field, field, 3) uint8; `OUTSIDE` beyond a picture's edge and in an entry
      without an image.
    """
    files = _create_files(net.architecture, top_units, folder, np.uint8)
    for layer, entries, pixels in _patches(net.architecture, image_set, top_units, visit):
        files[layer].write(entries, pixels)
    return files


def project_and_cut(
    net: Net,
    image_set: ImageSet,
    layer: str,
    top_units: TopUnits,
    options: deconvnet.Options = PAPER,
) -> tuple[np.ndarray, np.ndarray]:
    """Projects the top units of some maps of one layer, and cuts them out of the pictures.

    Args:
      net: the net.
      image_set: the pictures that it was mined on.
      layer: the maps' layer.
      top_units: the maps and their units.
      options: of the deconvnet.

    Returns:
      The projections, (M, k, field, field, 3) float32 in network space, zeros in an entry without
      an image; and the patches, of the same shape, uint8, `OUTSIDE` beyond a picture's edge and in
      an entry without an image.

    Raises:
      ValueError: an activation is not what mining found.
    """
    of_layer = {layer: top_units}
    shape = _shape(net.architecture, layer, top_units)
    projections = np.zeros((top_units.top.image.size, *shape[2:]), np.float32)
    for _, entries, pixels in _projections(net, image_set, of_layer, None, 0, options):
        projections[entries] = pixels
    patches = np.empty((top_units.top.image.size, *shape[2:]), np.uint8)
    for _, entries, pixels in _patches(net.architecture, image_set, of_layer):
        patches[entries] = pixels
    return projections.reshape(shape), patches.reshape(shape)


def cut(picture: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """A picture's own pixels in a box, (height, width, 3); `OUTSIDE` beyond its edges."""
    top, left, high, wide = box
    patch = np.full((high, wide, 3), OUTSIDE, np.uint8)
    rows = slice(max(top, 0), min(top + high, picture.shape[0]))
    cols = slice(max(left, 0), min(left + wide, picture.shape[1]))
    inner = picture[rows, cols]
    patch[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = inner
    return patch


class _Pixels(NamedTuple):
    """The pixels, (n, field, field, 3), of some entries of a layer's grid, (n,) int."""

    layer: str
    entries: np.ndarray
    pixels: np.ndarray


def _projections(
    net: Net,
    image_set: ImageSet,
    top_units: Mapping[str, TopUnits],
    control: Control | None,
    seed: int,
    options: deconvnet.Options,
) -> Iterator[_Pixels]:
    """The projection of each entry that holds an image, once."""
    wanted = {layer: units.units() for layer, units in top_units.items()}
    filled = {layer: units.filled for layer, units in top_units.items()}
    alter = None
    if control:
        shapes = net.architecture.shapes(len(net.class_names))
        widths = {layer: shapes[layer][-1] for layer in wanted}
        net = controls.net_of(control, net, seed)
        wanted = controls.units_of(control, wanted, widths, seed)
        alter = controls.trace_of(control, seed)
    prepare = network_input(net)
    total = sum(len(units.image) for units in wanted.values())
    with tqdm(total=total, desc="projecting", disable=None, leave=False, unit="unit") as bar:
        read = lambda items: prepare(image_set.batch(items).frames)
        for part in project_all(net, read, wanted, alter=alter, options=options):
            signals.check()
            if control is None:
                _expect_values(part.layer, wanted[part.layer], part.positions, part.values)
            yield _Pixels(part.layer, filled[part.layer][part.positions], part.patches)
            bar.update(len(part.positions))


def _patches(
    arch: Architecture,
    image_set: ImageSet,
    top_units: Mapping[str, TopUnits],
    visit: Callable[[int, np.ndarray], None] = lambda number, picture: None,
) -> Iterator[_Pixels]:
    """The patch of each entry, once."""
    for layer, units in top_units.items():
        empty = np.flatnonzero(units.top.image == NO_IMAGE)
        shape = len(empty), *[field_size(arch, layer)] * 2, 3
        yield _Pixels(layer, empty, np.broadcast_to(np.uint8(OUTSIDE), shape))
    for number, picture in _pictures(image_set, image_numbers(top_units), arch.input_size):
        visit(number, picture)
        for layer, (_, top) in top_units.items():
            entries = np.flatnonzero(top.image == number)
            rows, cols = top.row.ravel()[entries], top.col.ravel()[entries]
            boxes = [
                unit_box(arch, layer, int(row), int(col))
                for row, col in zip(rows, cols, strict=True)
            ]
            if boxes:
                yield _Pixels(layer, entries, np.stack([cut(picture, box) for box in boxes]))


def _shape(arch: Architecture, layer: str, top_units: TopUnits) -> tuple[int, ...]:
    """The shape of the pixels of a grid, (M, k, field, field, 3)."""
    return (*top_units.top.image.shape, *[field_size(arch, layer)] * 2, 3)


def _create_files(
    arch: Architecture, top_units: Mapping[str, TopUnits], folder: Path, dtype: DTypeLike
) -> dict[str, ArrayFile]:
    return {
        layer: ArrayFile.create(folder / f"{layer}.npy", _shape(arch, layer, units), dtype, axes=2)
        for layer, units in top_units.items()
    }


def _pictures(
    image_set: ImageSet, items: np.ndarray, size: int
) -> Iterator[tuple[int, np.ndarray]]:
    batches = all_batches(image_set, batch_size=16, items=items)
    numbers = iter(items.tolist())
    for batch in tqdm(batches, "cutting out", disable=None, leave=False, unit="batch"):
        # The last batch repeats its last picture; zip ends with the numbers.
        views = centre_view(batch.frames, size)
        yield from zip(islice(numbers, len(views)), views, strict=False)


def _expect_values(layer: str, units: Units, positions: np.ndarray, values: np.ndarray) -> None:
    mined = np.asarray(units.value)[positions]
    off = np.flatnonzero(~(np.abs(values - mined) <= TOLERANCE * np.abs(mined)))
    if off.size:
        first = positions[off[0]]
        raise ValueError(
            f"{layer} map {units.map[first]}, image {units.image[first]}: mining found "
            f"{mined[off[0]]:.6g}, seen again it is {values[off[0]]:.6g}; expected the same to "
            f"{TOLERANCE:g} ({off.size} of {len(values)} units differ)"
        )
