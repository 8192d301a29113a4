"""The strongest activations of every feature map over a data set, in one streaming pass.

Zeiler & Fergus 2014, Fig 2: for each map the best position of every image, and of these the k
strongest images (a choice: the paper does not say that an image counts once). Beside them, a
histogram of the maxima of all images. What is kept is a small table that merges: associative and
commutative, so that batches, devices and hosts merge with one function and in any order.

A long pass goes in parts, each of which begins with what the one before it found:

    found, done = load(path, identity) or (None, 0)  # of `count` batches
    batches = islice(all_of_them, done, None)
    while done < count:
        found = mine(function, islice(batches, 100), layers, state=found)
        done = min(done + 100, count)
        save(path, found, done, identity)
"""

import functools
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from zfnet_jax.core.files import whole_file

NO_IMAGE = np.iinfo(np.int32).max
"""The image number of an empty place."""

EDGES = np.array([0, *2 ** (np.arange(-20, 41) / 2)], np.float32)
"""The histograms' edges: 0, then half octaves from 2**-10 to 2**20, the same for every map.

Bin i holds the maxima above edge i - 1 and up to edge i, itself included: bin 0 what is not above
0, the last bin what is above 2**20.
"""

Function = Callable[[Any], tuple[Any, Mapping[str, Array]]]
"""images -> (outputs, the activations of the layers by name)."""


class Top(NamedTuple):
    """For each of C maps its k strongest images, strongest first; ties by image number.

    Attributes:
      value: (C, k) float32, the activation; -inf in an empty place.
      image: (C, k) int32, the number of the image in the data set; `NO_IMAGE` in an empty place.
      row: (C, k) int32, where in the map it was; 0 in an empty place.
      col: (C, k) int32.
      label: (C, k) int32, the image's; -1 in an empty place or where there is none.
    """

    value: Any
    image: Any
    row: Any
    col: Any
    label: Any


class LayerStatistics(NamedTuple):
    """What is known of a layer of C maps after some of the images.

    Attributes:
      top: the strongest images.
      histogram: (C, len(EDGES) + 1) int32, how many images have their maximum in each bin.
    """

    top: Top
    histogram: Any


_NOTHING = Top(np.float32(-np.inf), *np.array([NO_IMAGE, 0, 0, -1], np.int32))


def batch_statistics(maps: Array, images: Array, labels: Array, k: int) -> LayerStatistics:
    """What one batch says of a layer.

    Args:
      maps: (N, rows, cols, C), or (N, C) where the layer is dense, whose row and column are 0.
      images: (N,) int32, the images' numbers in the data set, each once; negative for rows that
        only fill the batch and count nowhere.
      labels: (N,) int32, the images' labels; -1 where there is none.
      k: how many images are kept.

    Returns:
      Tables of C maps. Of equal values in one map the first position in row-major order wins. A
      map with a NaN has the value NaN, which is stronger than any number, so that it shows.
    """
    maps = maps if maps.ndim == 4 else maps[:, None, None]
    # Of the rows the strongest, then of its pixels: an argmax over whole maps takes a CPU three
    # times as long.
    row = lax.argmax(maps.max(axis=2), 1, jnp.int32)
    pixels = jnp.take_along_axis(maps, row[:, None, None], axis=1)[:, 0]
    value, col = pixels.max(axis=1).astype(jnp.float32), lax.argmax(pixels, 1, jnp.int32)
    columns = Top(value, images[:, None], row, col, labels[:, None])
    counts = jnp.broadcast_to((images >= 0)[:, None], value.shape)
    top = Top(*(jnp.where(counts, *pair).T for pair in zip(columns, _NOTHING, strict=True)))
    above = (top.value[..., None] > EDGES).sum(axis=1, dtype=jnp.int32)
    total = counts.sum(axis=0, dtype=jnp.int32)[:, None]
    histogram = -jnp.diff(above, axis=1, prepend=total, append=0)
    return LayerStatistics(_strongest(top, k), histogram)


def merge(one: LayerStatistics, other: LayerStatistics) -> LayerStatistics:
    """What two sets of different images say of a layer together."""
    both = Top(*(jnp.concatenate(pair, axis=1) for pair in zip(one.top, other.top, strict=True)))
    return LayerStatistics(
        _strongest(both, one.top.value.shape[1]), one.histogram + other.histogram
    )


def _strongest(top: Top, k: int) -> Top:
    """The k strongest of n places, (C, n) -> (C, k)."""
    missing = max(0, k - top.value.shape[1])
    value, image, row, col, label = (
        jnp.pad(column, ((0, 0), (0, missing)), constant_values=fill)
        for column, fill in zip(top, _NOTHING, strict=True)
    )
    # Ascending and then reversed: a sort puts NaN last.
    value, image, *rest = lax.sort((value, -image, row, col, label), num_keys=2)
    return Top(*(column[:, ::-1][:, :k] for column in (value, -image, *rest)))


def only_positive(top: Top) -> Top:
    """The table with empty places where an activation is 0: after a ReLU that is no response."""
    return Top(
        *(np.where(top.value > 0, column, fill) for column, fill in zip(top, _NOTHING, strict=True))
    )


def mine(
    function: Function,
    batches: Iterable[tuple[Any, Any, Any]],
    layers: Sequence[str],
    k: int = 9,
    *,
    state: dict[str, LayerStatistics] | None = None,
) -> dict[str, LayerStatistics]:
    """The strongest images of every map of some layers.

    One compiled call a batch runs the function, searches its activations and merges what it finds
    into the tables, over all devices of this process. Two batches are in memory at a time: one is
    prepared while the other is computed.

    Args:
      function: of any network, not compiled; its activations (N, rows, cols, C) or (N, C). As
        `jax.tree_util.Partial(function, params)` it takes its parameters along as arguments;
        those that it closes over become constants of the program. Equal functions compile once.
      batches: (images, their numbers, their labels), as for `find`; N a multiple of the devices.
      layers: the layers' names.
      k: how many images are kept for each map.
      state: what earlier batches gave, to go on from.

    Returns:
      By layer, the tables as NumPy arrays.

    Raises:
      ValueError: there are no batches, or one that does not divide into the devices; there is no
        such layer, or it is not made of maps; the state is of other layers or another k; an
        activation is not a number.
    """
    mesh = devices.make_mesh().local_mesh
    step, whole = _compiled_step(mesh), devices.replicated(mesh)
    given = function if isinstance(function, Partial) else Partial(function)
    given, found = jax.device_put((given, state), whole)
    nothing = None
    for images, numbers, labels in batches:
        if len(numbers) % mesh.size:
            raise ValueError(
                f"batch of {len(numbers)} images: expected a multiple of {mesh.size} devices"
            )
        host = (images, np.asarray(numbers, np.int32), np.asarray(labels, np.int32))
        batch = jax.device_put(host, devices.by_example(mesh))
        if nothing is None:
            nothing = _nothing(function, batch[0], layers, k)
            found = jax.device_put(nothing, whole) if found is None else found
            _expect_like(found, nothing)
        jax.block_until_ready(found)  # of the batch before, so that no more than this one waits
        found = step(found, given, *batch)
    if found is None:
        raise ValueError("no batches: expected at least one image")
    tables = {name: jax.tree.map(np.asarray, found[name]) for name in layers}
    _expect_numbers(tables)
    return tables


@functools.cache
def _compiled_step(mesh: Mesh) -> Callable[..., dict[str, LayerStatistics]]:
    def step(
        found: dict[str, LayerStatistics],
        function: Function,
        images: Any,
        numbers: Array,
        labels: Array,
    ) -> dict[str, LayerStatistics]:
        _, activations = function(images)
        return {
            name: merge(
                before,
                batch_statistics(activations[name], numbers, labels, before.top.value.shape[1]),
            )
            for name, before in found.items()
        }

    whole, cut = devices.replicated(mesh), devices.by_example(mesh)
    return compilation.jit(
        step,
        donate_argnums=0,
        in_shardings=(whole, whole, cut, cut, cut),
        out_shardings=whole,
    )


def _nothing(
    function: Function, images: Any, layers: Sequence[str], k: int
) -> dict[str, LayerStatistics]:
    """The tables before the first image."""
    _, activations = jax.eval_shape(function, images)
    tables = {}
    for name in layers:
        if name not in activations:
            raise ValueError(f"layer {name!r}: expected one of {', '.join(activations)}")
        shape = activations[name].shape
        if len(shape) not in (2, 4):
            raise ValueError(
                f"layer {name!r}: activations of shape {shape}, "
                "expected (N, rows, cols, C) or (N, C)"
            )
        top = Top(*(np.full((shape[-1], k), fill) for fill in _NOTHING))
        tables[name] = LayerStatistics(top, np.zeros((shape[-1], len(EDGES) + 1), np.int32))
    return tables


def _expect_like(state: dict[str, LayerStatistics], nothing: dict[str, LayerStatistics]) -> None:
    shapes, expected = (
        {name: mined.top.value.shape for name, mined in tables.items()}
        for tables in (state, nothing)
    )
    if shapes != expected:
        raise ValueError(f"state of maps and k {shapes}: expected {expected}")


def _expect_numbers(tables: dict[str, LayerStatistics]) -> None:
    for name, (top, _) in tables.items():
        strange = np.flatnonzero(np.isnan(top.value[:, 0]))
        if strange.size:
            raise ValueError(
                f"layer {name}, map {strange[0]}, image {top.image[strange[0], 0]}: "
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
