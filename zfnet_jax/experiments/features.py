"""The features that the layers of a net give of every picture, computed once and kept.

Zeiler & Fergus 2014, sections 5.2 and 5.3: features of fixed layers, seen in the centre view (a
choice). The feature of the paper's layer n is the output of its block, so pooled and normalised
where the net does that (a choice). Maps that are too large are averaged over a coarser grid.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock
from jax import Array
from jax.tree_util import Partial
from tqdm import tqdm

from zfnet_jax.core import compilation, devices, identity
from zfnet_jax.core.array_file import ArrayFile
from zfnet_jax.core.checked import expect_one_of
from zfnet_jax.core.files import read_json, write_text
from zfnet_jax.core.version import __version__
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.experiments.labelled_images import LabelledImages
from zfnet_jax.features.image_set_mining import numbered_batches, whole_batch
from zfnet_jax.networks import net as nets
from zfnet_jax.networks.function import network_of_raw
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import architecture as architectures
from zfnet_jax.zfnet.architecture import ZFNET, Architecture, Conv, Dense

VALUE_LIMIT = 9216
"""Values a picture at most, by default: those of the paper's pool5, 6 x 6 x 256."""

_ARRAY, _KEY, _DONE = "features.npy", "key.json", "pictures_done.json"


class Reading(NamedTuple):
    """Where a feature is read, and how it is reduced.

    Attributes:
      layer: the paper's layer, a convolution or a dense one.
      at: the layer whose output is read: the last of the block.
      shape: of that output.
      grid: rows and columns that its maps are averaged over; None where they are left as they are.
    """

    layer: str
    at: str
    shape: tuple[int, ...]
    grid: tuple[int, int] | None

    @property
    def values(self) -> int:
        """Values a picture."""
        return int(np.prod((*self.grid, self.shape[-1]) if self.grid else self.shape))

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**self._asdict(), "values": self.values}


def blocks(arch: Architecture) -> dict[str, str]:
    """By convolution and hidden dense layer, the last layer before the next one."""
    names = [layer.name for layer in arch]
    weighted = [at for at, layer in enumerate(arch) if isinstance(layer, Conv | Dense)]
    return {names[first]: names[after - 1] for first, after in pairwise(weighted)}


def numbers(arch: Architecture) -> dict[str, int]:
    """By convolution and hidden dense layer, its number in Fig 3, or its place in other nets."""
    of_zfnet = {layer: number for number, layer in enumerate(blocks(ZFNET), start=1)}
    own = {layer: number for number, layer in enumerate(blocks(arch), start=1)}
    return {layer: of_zfnet[layer] for layer in own} if own.keys() <= of_zfnet.keys() else own


def reading(arch: Architecture, layer: str, value_limit: int = VALUE_LIMIT) -> Reading:
    """Where a layer's feature is read, and over which grid its maps are averaged.

    Args:
      arch: the net's layers.
      layer: a convolution or a hidden dense layer.
      value_limit: values a picture at most; the grid is the finest square one that keeps to it.

    Returns:
      The reading.

    Raises:
      ValueError: there is no such layer, or even the means of its maps are too many.
    """
    ends = blocks(arch)
    expect_one_of("layer", layer, ends)
    shape = arch.shapes()[ends[layer]]
    size = int(np.prod(shape))
    if size <= value_limit:
        return Reading(layer, ends[layer], shape, None)
    side = int((value_limit // shape[-1]) ** 0.5) if len(shape) == 3 else 0
    if side < 1:
        raise ValueError(
            f"{value_limit} values a picture: expected at least the {shape[-1]} of {layer}"
        )
    grid = min(side, shape[0]), min(side, shape[1])
    return Reading(layer, ends[layer], shape, grid)


def averaging(size: int, cells: int) -> np.ndarray:
    """The matrix, (cells, size) float32, that averages a row of pixels over adjacent cells.

    Cell i holds the pixels from floor(i size / cells) to ceil((i + 1) size / cells), so that cells
    overlap by a pixel where they do not divide the row.
    """
    matrix = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        first, end = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, first:end] = 1 / (end - first)
    return matrix


def compute(
    net: Net,
    images: LabelledImages,
    readings: Sequence[Reading],
    cache_folder: Path,
    *,
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """The features of every picture, from the cache or in one pass over the pictures.

    A pass that was stopped goes on where it was; a second process waits for the first.

    Args:
      net: the net.
      images: the pictures.
      readings: which features.
      cache_folder: where they are kept, a folder for each layer; features of another net, of other
        pictures or read otherwise are computed anew, which is said.
      batch_size: pictures a step.

    Returns:
      By layer, (N, values) float32, memory-mapped and read-only.
    """
    source = _identity(net, images)
    keys = {reading.layer: identity.of_json([source, reading.to_json()]) for reading in readings}
    cache_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder / "lock"):
        missing = []
        for reading in readings:
            folder = cache_folder / reading.layer
            if (folder / _KEY).exists() and read_json(folder / _KEY) == keys[reading.layer]:
                continue
            if folder.exists():
                print(f"{folder}: features of another net, source or setting; computing them anew")
            missing.append(reading)
        if missing:
            unfinished = cache_folder / "unfinished"
            _compute(net, images, missing, keys, unfinished, batch_size)
            for reading in missing:
                folder = cache_folder / reading.layer
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(unfinished / reading.layer, folder)
            shutil.rmtree(unfinished)
    return {
        reading.layer: np.load(cache_folder / reading.layer / _ARRAY, "r") for reading in readings
    }


def _compute(
    net: Net,
    images: LabelledImages,
    readings: Sequence[Reading],
    keys: dict[str, str],
    folder: Path,
    batch_size: int,
) -> None:
    """Fills a folder for each reading, from where an earlier call was stopped."""
    files, done = _take_up(images, readings, keys, folder)
    frames = ImageSet.of(images, net.preprocessing.frame, cache_gib=0)
    size = whole_batch(frames, batch_size)
    read = _compiled(tuple(readings))
    mesh = devices.make_mesh().local_mesh
    function = jax.device_put(network_of_raw(net), devices.replicated(mesh))
    with tqdm(
        numbered_batches(frames, size, done),
        "features",
        total=-(-(len(images) - done) // size),
        disable=None,
        leave=False,
        unit="batch",
    ) as bar:
        for raw, numbers, _ in bar:
            values = read(function, jax.device_put(raw, devices.by_example(mesh)))
            real = numbers >= 0
            for layer, file in files.items():
                file.write(numbers[real], np.asarray(values[layer])[real])
            write_text(folder / _DONE, json.dumps(int(numbers.max()) + 1) + "\n")


def _take_up(
    images: LabelledImages, readings: Sequence[Reading], keys: dict[str, str], folder: Path
) -> tuple[dict[str, ArrayFile], int]:
    """Each reading's array, and the number of pictures that all of them have."""
    folders = {reading.layer: folder / reading.layer for reading in readings}
    if (folder / _DONE).exists() and all(
        (inside / _KEY).exists() and read_json(inside / _KEY) == keys[layer]
        for layer, inside in folders.items()
    ):
        files = {layer: ArrayFile.open(inside / _ARRAY) for layer, inside in folders.items()}
        return files, read_json(folder / _DONE)
    shutil.rmtree(folder, ignore_errors=True)
    files = {}
    for reading in readings:
        layer, inside = reading.layer, folders[reading.layer]
        inside.mkdir(parents=True)
        shape = len(images), reading.values
        files[layer] = ArrayFile.create(inside / _ARRAY, shape, np.float32)
        write_text(inside / _KEY, json.dumps(keys[layer]) + "\n")
    return files, 0


@cache
def _compiled(readings: tuple[Reading, ...]) -> Callable[[Partial, Array], dict[str, Array]]:
    def read(function: Partial, raw: Array) -> dict[str, Array]:
        _, activations = function(raw)
        return {
            reading.layer: _reduce(activations[reading.at], reading.grid) for reading in readings
        }

    mesh = devices.make_mesh().local_mesh
    cut = devices.by_example(mesh)
    return compilation.jit(read, in_shardings=(devices.replicated(mesh), cut), out_shardings=cut)


def _reduce(maps: Array, grid: tuple[int, int] | None) -> Array:
    if grid is not None:
        down, across = (averaging(*pair) for pair in zip(maps.shape[1:3], grid, strict=True))
        maps = jnp.einsum("rh,nhwc,qw->nrqc", down, maps, across, precision="highest")
    return maps.reshape(len(maps), -1)


def identify(net: Net) -> str:
    """A digest of what a net computes from a picture."""
    arrays = {"params": net.params, "mean": net.preprocessing.mean}
    architecture = architectures.to_json(net.architecture)
    return identity.of_json(
        [identity.of_arrays(arrays), nets.to_json(net)["preprocessing"], architecture]
    )


def identify_pictures(images: LabelledImages) -> str:
    """A digest of which pictures there are, of their contents, and of their classes."""
    return identity.of_json([images.identity, images.labels.tolist(), images.class_names])


def _identity(net: Net, images: LabelledImages) -> str:
    return identity.of_json([__version__, identify(net), images.identity])
