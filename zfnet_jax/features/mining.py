"""The top-k images of every feature map over a data set, in one streaming pass.

Zeiler & Fergus 2014, Fig 2: for each map the largest activation in every image, and of these the k
largest (a choice: the paper does not say that an image counts once). Beside them, a histogram of
the largest activations of all images. What is kept is a small table that merges: associative and
commutative, so that batches, devices and hosts merge with one function and in any order.

From pictures to the projections of a layer's top units, for any network::

    statistics = mine(function, batches, ["block3"])["block3"]
    numbers, units = top_units(statistics, map_numbers=[3, 17], k=2)
    patches = transform.project_units(function, images[numbers], "block3", units)

A long pass goes in parts, each of which goes on from the state that the one before it left::

    state, done = load(path, identity) or (None, 0)  # of `count` batches
    remaining = islice(batches, done, None)
    while done < count:
        state = mine(function, islice(remaining, 100), layers, state=state)
        done = min(done + 100, count)
        save(path, state, done, identity)
"""

import functools
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.tree_util import Partial

from zfnet_jax.core import compilation, devices
from zfnet_jax.core import identity as identities
from zfnet_jax.core.activations import Function, expect_maps, layer_of, output_shapes
from zfnet_jax.core.files import whole_file
from zfnet_jax.core.summary import summary
from zfnet_jax.zfnet.units import Units

NO_IMAGE = np.iinfo(np.int32).max
"""The image number of an entry without an image."""

EDGES = np.array([0, *2 ** (np.arange(-20, 41) / 2)], np.float32)
"""The histograms' edges: 0, then half octaves from 2**-10 to 2**20, the same for every map.

Bin i counts the largest activations above edge i - 1 and up to edge i, itself included: bin 0 those
that are not above 0, the last bin those above 2**20.
"""


class Top(NamedTuple):
    """For each of C maps its top k images, largest activation first; ties by image number.

    A map that has fewer images has entries without an image, which come last.

    Attributes:
      value: (C, k) float32, the activation; -inf without an image.
      image: (C, k) int32, the number of the image in the data set; `NO_IMAGE` without one.
      row: (C, k) int32, the row of the activation in the map; 0 without an image.
      col: (C, k) int32, its column; 0 without an image.
      label: (C, k) int32, the image's; -1 without an image, or where it has no label.
    """

    value: Any
    image: Any
    row: Any
    col: Any
    label: Any

    __repr__ = summary


class LayerStatistics(NamedTuple):
    """What a layer of C maps did on some images.

    Attributes:
      top: the top k images of each map.
      histogram: (C, len(EDGES) + 1) int32, how many images have their largest activation in a bin.
    """

    top: Top
    histogram: Any

    __repr__ = summary


_EMPTY = Top(np.float32(-np.inf), *np.array([NO_IMAGE, 0, 0, -1], np.int32))


def batch_statistics(maps: Array, images: Array, labels: Array, k: int) -> LayerStatistics:
    """A layer's statistics over one batch.

    Args:
      maps: the activations, (N, rows, cols, C), or (N, C) of a dense layer, whose row and column
        are 0.
      images: (N,) int32, the images' numbers in the data set, each once; negative for rows that
        only fill the batch and count nowhere.
      labels: (N,) int32, the images' labels; -1 where there is none.
      k: how many images are kept.

    Returns:
      Tables of C maps. Of equal values in one map the first position in row-major order counts. A
      map with a NaN has the value NaN, which is above every number, so that it is noticed.

    Raises:
      ValueError: the activations have another number of axes.
    """
    expect_maps("maps", maps.shape)
    maps = maps if maps.ndim == 4 else maps[:, None, None]
    # First the row, then the column: an argmax over whole maps takes a CPU three times as long.
    row = lax.argmax(maps.max(axis=2), 1, jnp.int32)
    pixels = jnp.take_along_axis(maps, row[:, None, None], axis=1)[:, 0]
    value, col = pixels.max(axis=1).astype(jnp.float32), lax.argmax(pixels, 1, jnp.int32)
    columns = Top(value, images[:, None], row, col, labels[:, None])
    counts = jnp.broadcast_to((images >= 0)[:, None], value.shape)
    top = Top(*(jnp.where(counts, *pair).T for pair in zip(columns, _EMPTY, strict=True)))
    above = (top.value[..., None] > EDGES).sum(axis=1, dtype=jnp.int32)
    total = counts.sum(axis=0, dtype=jnp.int32)[:, None]
    histogram = -jnp.diff(above, axis=1, prepend=total, append=0)
    return LayerStatistics(_top_k(top, k), histogram)


def merge(one: LayerStatistics, other: LayerStatistics) -> LayerStatistics:
    """A layer's statistics over two sets of different images together."""
    both = Top(*(jnp.concatenate(pair, axis=1) for pair in zip(one.top, other.top, strict=True)))
    return LayerStatistics(_top_k(both, one.top.value.shape[1]), one.histogram + other.histogram)


def _top_k(top: Top, k: int) -> Top:
    """The k entries of largest value of each map, (C, n) -> (C, k)."""
    missing = max(0, k - top.value.shape[1])
    value, image, row, col, label = (
        jnp.pad(column, ((0, 0), (0, missing)), constant_values=fill)
        for column, fill in zip(top, _EMPTY, strict=True)
    )
    # Ascending and then reversed: a sort puts NaN last.
    value, image, *rest = lax.sort((value, -image, row, col, label), num_keys=2)
    return Top(*(column[:, ::-1][:, :k] for column in (value, -image, *rest)))


def only_positive(top: Top) -> Top:
    """The table without the images whose activation is 0: after a ReLU that is no response."""
    return Top(
        *(np.where(top.value > 0, column, fill) for column, fill in zip(top, _EMPTY, strict=True))
    )


def top_units(
    statistics: LayerStatistics, *, map_numbers: Sequence[int] | None = None, k: int | None = None
) -> tuple[np.ndarray, Units]:
    """The top units of some maps, with their images numbered by their position in one batch.

    `mine` numbers the images of the data set, a projection those of the batch that it is given:

        numbers, units = top_units(statistics, map_numbers=[3, 17], k=2)
        patches = transform.project_units(function, images[numbers], "block3", units)

    Args:
      statistics: a layer's, from `mine`.
      map_numbers: which maps, in this order; None for all.
      k: how many images of each map, at most those that were mined; None for all of them.

    Returns:
      The numbers of the images that hold these units, (n,) int32, ascending; and the units, map by
      map, largest activation first, whose `image` is a position in these numbers. Entries without
      an image and activations of 0 are left out.

    Raises:
      ValueError: there is no such map, or fewer images were mined.
    """
    top = only_positive(statistics.top)
    channels, mined = top.value.shape
    rows = np.arange(channels) if map_numbers is None else np.array(map_numbers, int)
    for number in rows:
        if not 0 <= number < channels:
            raise ValueError(f"map {number}: expected 0..{channels - 1}")
    if k is not None and not 1 <= k <= mined:
        raise ValueError(f"k {k}: expected 1..{mined}, the images that were mined of each map")
    value, image, row, col, _ = (column[rows, :k].ravel() for column in top)
    filled = image != NO_IMAGE
    numbers, positions = np.unique(image[filled], return_inverse=True)
    maps = np.repeat(rows, k or mined)[filled].astype(np.int32)
    units = Units(positions.astype(np.int32), row[filled], col[filled], maps, value[filled])
    return numbers, units


def mine(
    function: Function,
    batches: Iterable[tuple[Any, Any, Any]],
    layers: Sequence[str],
    k: int = 9,
    *,
    state: dict[str, LayerStatistics] | None = None,
) -> dict[str, LayerStatistics]:
    """The top k images of every map of some layers.

    One compiled call a batch runs the function and merges the batch's statistics into the tables,
    over all devices of this process. Two batches are in memory at a time: one is prepared while the
    other is computed.

    Args:
      function: of any network, not compiled; its activations (N, rows, cols, C) or (N, C). As
        `jax.tree_util.Partial(function, params)` it takes its parameters along as arguments;
        those that it closes over become constants of the program. Equal functions compile once.
      batches: (images, their numbers, their labels), as for `find`; N a multiple of the devices.
      layers: the layers' names.
      k: how many images are kept for each map.
      state: the tables of earlier batches, to go on from.

    Returns:
      By layer, the tables as NumPy arrays. `top_units` takes them on to a projection.

    Raises:
      ValueError: there are no batches, or one that does not divide into the devices; there is no
        such layer, or its activations are no feature maps; the state is of other layers or another
        k; an activation is not a number.
    """
    mesh = devices.make_mesh().local_mesh
    step, replicated = _compiled_step(mesh), devices.replicated(mesh)
    network = function if isinstance(function, Partial) else Partial(function)
    network, tables = jax.device_put((network, state), replicated)
    empty = None
    for images, numbers, labels in batches:
        if len(numbers) % mesh.size:
            raise ValueError(
                f"batch of {len(numbers)} images: expected a multiple of {mesh.size} devices"
            )
        host = (images, np.asarray(numbers, np.int32), np.asarray(labels, np.int32))
        batch = jax.device_put(host, devices.by_example(mesh))
        if empty is None:
            empty = _empty_tables(function, batch[0], layers, k)
            tables = jax.device_put(empty, replicated) if tables is None else tables
            _expect_like(tables, empty)
        jax.block_until_ready(tables)  # of the batch before, so that only this one is waiting
        tables = step(tables, network, *batch)
    if tables is None:
        raise ValueError("no batches: expected at least one image")
    merged = {name: jax.tree.map(np.asarray, tables[name]) for name in layers}
    _expect_numbers(merged)
    return merged


@functools.cache
def _compiled_step(mesh: Mesh) -> Callable[..., dict[str, LayerStatistics]]:
    def step(
        tables: dict[str, LayerStatistics],
        function: Function,
        images: Any,
        numbers: Array,
        labels: Array,
    ) -> dict[str, LayerStatistics]:
        _, activations = function(images)
        return {
            name: merge(
                table,
                batch_statistics(activations[name], numbers, labels, table.top.value.shape[1]),
            )
            for name, table in tables.items()
        }

    replicated, by_example = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(
        step,
        donate_argnums=0,
        in_shardings=(replicated, replicated, by_example, by_example, by_example),
        out_shardings=replicated,
    )


def _empty_tables(
    function: Function, images: Any, layers: Sequence[str], k: int
) -> dict[str, LayerStatistics]:
    """The tables before the first image."""
    _, activations = output_shapes(function, images)
    tables = {}
    for name in layers:
        channels = layer_of(activations, name).shape[-1]
        top = Top(*(np.full((channels, k), fill) for fill in _EMPTY))
        histogram = np.zeros((channels, len(EDGES) + 1), np.int32)
        tables[name] = LayerStatistics(top, histogram)
    return tables


def _expect_like(state: dict[str, LayerStatistics], empty: dict[str, LayerStatistics]) -> None:
    shapes, expected = (
        {name: table.top.value.shape for name, table in tables.items()} for tables in (state, empty)
    )
    if shapes != expected:
        raise ValueError(f"state of maps and k {shapes}: expected {expected}")


def _expect_numbers(tables: dict[str, LayerStatistics]) -> None:
    for name, (top, _) in tables.items():
        not_numbers = np.flatnonzero(np.isnan(top.value[:, 0]))
        if not_numbers.size:
            number = not_numbers[0]
            raise ValueError(
                f"layer {name}, map {number}, image {top.image[number, 0]}: "
                "expected an activation that is a number"
            )


def merge_processes(state: dict[str, LayerStatistics]) -> dict[str, LayerStatistics]:
    """The tables of all processes, each of which has mined images of its own, merged in each.

    Args:
      state: what `mine` returned here; every process has the same layers and k.

    Returns:
      By layer, the tables as NumPy arrays.
    """
    gathered = multihost_utils.process_allgather(state)
    parts = [jax.tree.map(lambda x, i=i: x[i], gathered) for i in range(jax.process_count())]
    return {
        name: jax.tree.map(np.asarray, functools.reduce(merge, [part[name] for part in parts]))
        for name in state
    }


def save(path: Path, state: dict[str, LayerStatistics], position: int, identity: Any) -> None:
    """Writes what is found so far; the file appears only when it is whole.

    Args:
      path: an .npz file.
      state: what `mine` returned.
      position: how far in the data set that is, as the caller counts it.
      identity: what must be the same to go on from it, the net, the data set, the options; as
        JSON data.
    """
    columns = {
        f"{field} {name}": column
        for name, mined in state.items()
        for field, column in {**mined.top._asdict(), "histogram": mined.histogram}.items()
    }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file, position=position, identity=json.dumps(identity), layers=list(state), **columns
        )


def load(path: Path, identity: Any) -> tuple[dict[str, LayerStatistics], int] | None:
    """Reads what `save` wrote.

    Args:
      path: the file.
      identity: what it must have been written with, as JSON data.

    Returns:
      The tables and the position; None where there is no file.

    Raises:
      ValueError: the file is damaged, or of another identity.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            stored, position = json.loads(str(file["identity"])), int(file["position"])
            tables = {
                name: LayerStatistics(
                    Top(*(file[f"{field} {name}"] for field in Top._fields)),
                    file[f"histogram {name}"],
                )
                for name in file["layers"].tolist()
            }
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged, expected what mining saved ({error})") from None
    identities.expect_same(stored, identity, path)
    return tables, position
