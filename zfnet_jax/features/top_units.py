"""The strongest units of a net's maps over a data set: mined, projected, and cut out of pictures.

Zeiler & Fergus 2014, section 4. Three passes, each of which holds some tables and a few images in
memory and sends what is large to files: mining sees every picture once; projection and cutting see
those that hold a unit, each once.
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
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.features import controls, mining
from zfnet_jax.features.controls import Control
from zfnet_jax.features.mining import NO_IMAGE, LayerStatistics, Top
from zfnet_jax.features.projection import project_all
from zfnet_jax.features.views import forward_from_raw, network_input, numbered_batches, whole_batch
from zfnet_jax.networks.net import Net, describe
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.deconvnet import Units

OUTSIDE = 225
"""What a picture's patch shows beyond the picture's edge."""

SAVE_EVERY = 50  # batches between two saves of a long pass
TOLERANCE = 1e-5
"""How far an activation may be from what mining found, relative, when its image is seen again."""


class TopUnits(NamedTuple):
    """Some maps of a layer and their strongest images.

    Attributes:
      map_numbers: (M,) int.
      top: arrays of shape (M, k), empty places last.
    """

    map_numbers: np.ndarray
    top: Top

    @property
    def filled(self) -> np.ndarray:
        """Which places hold an image, as numbers in row-major order."""
        return np.flatnonzero(self.top.image != NO_IMAGE)

    def units(self) -> Units:
        """The units of the filled places."""
        value, image, row, col, _ = (column.ravel()[self.filled] for column in self.top)
        maps = np.repeat(self.map_numbers, self.top.value.shape[1])[self.filled]
        return Units(image, row, col, maps, value)


def responding_units(net: Net, tables: Mapping[str, LayerStatistics]) -> dict[str, TopUnits]:
    """All maps of the mined layers, without the places where nothing responded."""
    chosen = {}
    for layer, (top, _) in tables.items():
        # A logit that is negative is no less alive for it.
        kept = mining.only_positive(top) if getattr(net.architecture[layer], "relu", True) else top
        chosen[layer] = TopUnits(np.arange(len(top.value)), kept)
    return chosen


def mine_image_set(
    net: Net,
    frames: ImageSet,
    layers: Sequence[str],
    k: int,
    *,
    batch_size: int = 32,
    progress: Path | None = None,
) -> dict[str, LayerStatistics]:
    """The strongest images of every map of some layers.

    Args:
      net: the net.
      frames: the pictures, each seen through the centre view.
      layers: their names.
      k: how many images are kept for each map.
      batch_size: images a step.
      progress: a file to keep what is mined so far in, and to go on from. Where it is of another
        net, data set or choice of layers, mining begins anew, which is said.

    Returns:
      By layer, the tables.

    Raises:
      Stopped: a signal stopped it; what was mined is saved.
    """
    identity = _identity(net, frames, layers, k)
    state, done = (_resume(progress, identity) if progress else None) or (None, 0)
    total, size, saved = len(frames), whole_batch(frames, batch_size), done
    function = forward_from_raw(net)
    batches = numbered_batches(frames, size, first=done)
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
    frames: ImageSet,
    chosen: Mapping[str, TopUnits],
    folder: Path,
    *,
    control: Control | None = None,
    seed: int = 0,
    **options: Any,
) -> dict[str, ArrayFile]:
    """Projects the strongest units of some maps, or a control of them, to files LAYER.npy.

    Args:
      net: the net.
      frames: the pictures that it was mined on.
      chosen: by layer, which maps and units.
      folder: where the files go.
      control: what to project in place of the units.
      seed: of the control.
      **options: of `deconvnet.project`.

    Returns:
      By layer, (M, k, field, field, 3) float32 in network space, a row for each place; zeros in
      an empty place.

    Raises:
      ValueError: an activation is not what mining found.
    """
    wanted = {layer: each.units() for layer, each in chosen.items()}
    places = {layer: each.filled for layer, each in chosen.items()}
    alter = None
    if control:
        shapes = net.architecture.shapes(len(net.class_names))
        widths = {layer: shapes[layer][-1] for layer in wanted}
        net = controls.net_of(control, net, seed)
        wanted = controls.units_of(control, wanted, widths, seed)
        alter = controls.trace_of(control, seed)
    files = _files(net.architecture, chosen, folder, np.float32)
    prepare = network_input(net)
    total = sum(len(units.image) for units in wanted.values())
    with tqdm(total=total, desc="projecting", disable=None, leave=False, unit="unit") as bar:
        read = lambda items: prepare(frames.batch(items).frames)
        for part in project_all(net, read, wanted, alter=alter, **options):
            signals.check()
            if control is None:
                _expect_values(part.layer, wanted[part.layer], part.positions, part.values)
            files[part.layer].write(places[part.layer][part.positions], part.patches)
            bar.update(len(part.positions))
    return files


def cut_patches_to_files(
    net: Net,
    frames: ImageSet,
    chosen: Mapping[str, TopUnits],
    folder: Path,
    visit: Callable[[int, np.ndarray], None] = lambda number, picture: None,
) -> dict[str, ArrayFile]:
    """Cuts the strongest units' receptive fields out of the pictures, to files LAYER.npy.

    Args:
      net: the net.
      frames: the pictures.
      chosen: by layer, which maps and units.
      folder: where the files go.
      visit: is given each picture that holds a unit once, by its number, as the net sees it:
        (size, size, 3) uint8.

    Returns:
      By layer, (M, k, field, field, 3) uint8; `OUTSIDE` beyond a picture's edge and where there
      is no unit.
    """
    arch = net.architecture
    files = _files(arch, chosen, folder, np.uint8)
    for layer, each in chosen.items():
        empty = np.flatnonzero(each.top.image == NO_IMAGE)
        blank = np.full(files[layer].shape[2:], OUTSIDE, np.uint8)
        files[layer].write(empty, np.broadcast_to(blank, (len(empty), *blank.shape)))
    for number, picture in _pictures(frames, image_numbers(chosen), arch.input_size):
        visit(number, picture)
        for layer, (_, top) in chosen.items():
            places = np.flatnonzero(top.image == number)
            units = zip(top.row.ravel()[places], top.col.ravel()[places], strict=True)
            cuts = [cut(picture, unit_box(arch, layer, int(row), int(col))) for row, col in units]
            if cuts:
                files[layer].write(places, np.stack(cuts))
    return files


def image_numbers(chosen: Mapping[str, TopUnits]) -> np.ndarray:
    """The numbers of the pictures that hold a unit, ascending."""
    images = np.concatenate([each.units().image for each in chosen.values()])
    return np.unique(images)


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


def _files(
    arch: Architecture, chosen: Mapping[str, TopUnits], folder: Path, dtype: DTypeLike
) -> dict[str, ArrayFile]:
    """By layer, a file of zeros, (M, k, field, field, 3), with a row for each place."""
    return {
        layer: ArrayFile.create(
            folder / f"{layer}.npy",
            (*each.top.value.shape, *[field_size(arch, layer)] * 2, 3),
            dtype,
            axes=2,
        )
        for layer, each in chosen.items()
    }


def _pictures(frames: ImageSet, items: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    batches = all_batches(frames, batch_size=16, items=items)
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


def _identity(net: Net, frames: ImageSet, layers: Sequence[str], k: int) -> dict[str, Any]:
    """What must be the same for a pass to go on: the net, the pictures, the layers and k."""
    source = frames.source
    arrays = {"params": net.params, "mean": net.preprocessing.mean}
    names = list(getattr(source, "names", map(str, getattr(source, "paths", ()))))
    return {
        "net": identities.of_arrays(arrays),
        "preprocessing": describe(net)["preprocessing"],
        "pictures": [len(source), identities.of_json(names)],
        "layers": list(layers),
        "top": k,
    }
