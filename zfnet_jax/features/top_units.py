"""The top units of a net's feature maps over an image set: mined, projected, cut out of pictures.

Zeiler & Fergus 2014, section 4. Three passes: mining sees every picture once; projection and
cutting see those that hold a unit, each once. What is large goes to files.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from tqdm import tqdm

from zfnet_jax.core import identity as identities
from zfnet_jax.core import signals
from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.core.summary import summary
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.features import controls, mining
from zfnet_jax.features.controls import Control
from zfnet_jax.features.mining import NO_IMAGE, LayerStatistics, Top
from zfnet_jax.features.projection import PAPER, project_all
from zfnet_jax.features.views import numbered_batches, whole_batch
from zfnet_jax.networks import net as nets
from zfnet_jax.networks.function import network_input, network_of_raw
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.units import Units

OUTSIDE = 225
"""The grey of a patch beyond its picture's edge."""

SAVE_EVERY = 50  # batches between two saves of a long pass
TOLERANCE = 1e-5
"""How far an activation may be from what mining found, relative, when its image is seen again."""


class TopUnits(NamedTuple):
    """Some maps of a layer and their top k images, in a grid of M rows and k columns.

    Attributes:
      map_numbers: (M,) int.
      top: arrays of shape (M, k); entries without an image are last in their row.
    """

    map_numbers: np.ndarray
    top: Top

    __repr__ = summary

    @property
    def filled(self) -> np.ndarray:
        """Which entries of the grid hold an image, as numbers in row-major order."""
        return np.flatnonzero(self.top.image != NO_IMAGE)

    def units(self) -> Units:
        """The units of the entries that hold an image."""
        value, image, row, col, _ = (column.ravel()[self.filled] for column in self.top)
        maps = np.repeat(self.map_numbers, self.top.value.shape[1])[self.filled]
        return Units(image, row, col, maps, value)

    def of_rows(self, rows: np.ndarray) -> "TopUnits":
        """Some of the maps, by their rows in the grid."""
        return TopUnits(self.map_numbers[rows], Top(*(column[rows] for column in self.top)))


def responding_units(net: Net, tables: Mapping[str, LayerStatistics]) -> dict[str, TopUnits]:
    """The top units of all maps of the mined layers, without activations of 0."""
    units = {}
    for layer, (top, _) in tables.items():
        # A logit that is negative is a response all the same.
        kept = mining.only_positive(top) if getattr(net.architecture[layer], "relu", True) else top
        units[layer] = TopUnits(np.arange(len(top.value)), kept)
    return units


def mine_image_set(
    net: Net,
    image_set: ImageSet,
    layers: Sequence[str],
    k: int,
    *,
    batch_size: int = 32,
    progress: Path | None = None,
) -> dict[str, LayerStatistics]:
    """The top k images of every map of some layers.

    Args:
      net: the net.
      image_set: the pictures; the net sees the centre view of each.
      layers: their names.
      k: how many images are kept for each map.
      batch_size: images a step.
      progress: a file for the tables so far, written every `SAVE_EVERY` batches, to go on from.
        Where it is of another net, image set or choice of layers, mining begins anew, which is
        said.

    Returns:
      By layer, the tables.

    Raises:
      Stopped: a signal stopped it; what was mined is saved.
    """
    identity = _identity(net, image_set, layers, k)
    state, done = (_resume(progress, identity) if progress else None) or (None, 0)
    total, size, saved = len(image_set), whole_batch(image_set, batch_size), done
    function = network_of_raw(net)
    batches = numbered_batches(image_set, size, first=done)
    with tqdm(
        batches,
        "looking at pictures",
        total=-(-total // size),
        initial=done // size,
        disable=None,
        leave=False,
        unit="batch",
    ) as bar:
        coming = iter(bar)

        def until_saving() -> Iterator[Any]:
            """The batches up to the next saving: fewer where a signal comes."""
            nonlocal done
            try:
                for batch in islice(coming, SAVE_EVERY):
                    yield batch
                    done = min(done + size, total)
            except signals.Stopped:
                if done == saved:
                    raise

        with signals.saving(lambda: progress is not None and done != saved):
            while done < total:
                signals.check(saved=progress is not None and done > 0)
                state = mining.mine(function, until_saving(), layers, k, state=state)
                if progress:
                    mining.save(progress, state, done, identity)
                    saved = done
    assert state is not None
    return state


def _resume(
    progress: Path, identity: dict[str, Any]
) -> tuple[dict[str, LayerStatistics], int] | None:
    """What an earlier pass left; None, which is said, where it cannot be gone on from."""
    try:
        return mining.load(progress, identity)
    except ValueError as error:
        print(f"warning: {error}; mining begins anew", file=sys.stderr)
        return None


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


def image_numbers(top_units: Mapping[str, TopUnits]) -> np.ndarray:
    """The numbers of the pictures that hold a unit, ascending."""
    return np.unique(np.concatenate([units.units().image for units in top_units.values()]))


def field_size(arch: Architecture, layer: str) -> int:
    """The width of a unit's receptive field in pixels; of a dense layer's, the whole picture."""
    return arch.receptive_field(layer).size if arch.is_spatial(layer) else arch.input_size


def unit_box(arch: Architecture, layer: str, row: int, col: int) -> tuple[int, int, int, int]:
    """A unit's receptive field in the network's input; of a dense layer's, the whole picture."""
    if arch.is_spatial(layer):
        return arch.receptive_field(layer).box(row, col)
    return 0, 0, arch.input_size, arch.input_size


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
            places = zip(top.row.ravel()[entries], top.col.ravel()[entries], strict=True)
            boxes = [unit_box(arch, layer, int(row), int(col)) for row, col in places]
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


def _identity(net: Net, image_set: ImageSet, layers: Sequence[str], k: int) -> dict[str, Any]:
    """What must be the same for a pass to go on: the net, the pictures, the layers and k."""
    source = image_set.source
    arrays = {"params": net.params, "mean": net.preprocessing.mean}
    return {
        "net": identities.of_arrays(arrays),
        "preprocessing": nets.to_json(net)["preprocessing"],
        "pictures": [len(source), source.identity],
        "layers": list(layers),
        "top": k,
    }
