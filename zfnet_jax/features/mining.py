"""The top k images of every feature map over a data set, in one streaming pass.

Zeiler & Fergus 2014, Fig 2. `layer_statistics` says what is kept.

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
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.tree_util import Partial

from zfnet_jax.core import compilation, devices
from zfnet_jax.core import identity as identities
from zfnet_jax.core.activations import Function, layer_of, output_shapes
from zfnet_jax.core.files import whole_file
from zfnet_jax.features.layer_statistics import (
    EDGES,
    EMPTY,
    NO_IMAGE,
    LayerStatistics,
    Top,
    batch_statistics,
    merge,
    only_positive,
    top_units,
)

__all__ = [
    "EDGES",
    "NO_IMAGE",
    "LayerStatistics",
    "Top",
    "batch_statistics",
    "load",
    "merge",
    "merge_processes",
    "mine",
    "only_positive",
    "save",
    "top_units",
]


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
        top = Top(*(np.full((channels, k), fill) for fill in EMPTY))
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
