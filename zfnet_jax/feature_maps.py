"""What a layer's feature maps respond to: their strongest units, projected, beside the pictures.

Zeiler & Fergus 2014, section 4 and Fig 2.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tqdm import tqdm

from zfnet_jax import deconvnet, parallel
from zfnet_jax.data.pipeline import Frames, all_batches
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.deconvnet import Units
from zfnet_jax.mining import NOWHERE, Top, mine, only_positive
from zfnet_jax.model import ZFNet, forward
from zfnet_jax.net import Net
from zfnet_jax.trace import Params

OUTSIDE = 225
"""What a picture's patch shows beyond the picture's edge."""


@dataclass(frozen=True, eq=False)
class Panel:
    """M feature maps of one layer, each with the projections of its k strongest units.

    Attributes:
      layer: its name.
      maps: (M,) int, which maps.
      top: their strongest units, arrays of shape (M, k); empty places have the value -inf.
      projections: (M, k, field, field, 3) float32, network space; zeros for an empty place.
      patches: (M, k, field, field, 3) uint8, the pictures' own pixels there.
      boxes: (M, k, 4) int32, where in the network's input.
      strongest: (C,) float32, the largest activation of every map of the layer; -inf if none.
    """

    layer: str
    maps: np.ndarray
    top: Top
    projections: np.ndarray
    patches: np.ndarray
    boxes: np.ndarray
    strongest: np.ndarray

    @property
    def dead(self) -> np.ndarray:
        """The numbers of the layer's maps that no image excites."""
        return np.flatnonzero(np.isneginf(self.strongest))


def make_panel(
    net: Net,
    frames: Frames,
    layer: str,
    *,
    top: int = 9,
    count: int = 16,
    maps: Sequence[int] = (),
    batch_size: int = 32,
    **options: Any,
) -> Panel:
    """Mines a data set for the strongest units of a layer and projects them.

    Args:
      net: the trained net.
      frames: the pictures; each is seen through the centre view.
      layer: any layer's name; a unit of a dense layer has the whole picture as its field.
      top: how many images are kept for each map.
      count: how many maps, those with the strongest activations, strongest first.
      maps: these maps instead, in this order.
      batch_size: images a step.
      **options: of `deconvnet.project`.

    Returns:
      The panel.

    Raises:
      ValueError: there is no such layer or map.
    """
    arch = net.architecture
    width = arch.shapes(len(net.class_names))[arch[layer].name][-1]
    for number in maps:
        if not 0 <= number < width:
            raise ValueError(f"map {number}: expected 0..{width - 1}, {layer} has {width} maps")
    activations = compiled_activations(net, layer)
    found = mine(
        lambda images: activations(net.params, images), _views(net, frames, batch_size), top
    )
    if getattr(arch[layer], "relu", True):  # a logit that is negative is no less alive for it
        found = only_positive(found)
    strongest = found.value[:, 0]
    chosen = np.array(maps, int) if maps else np.argsort(-strongest, kind="stable")[:count]
    kept = Top(*(column[chosen] for column in found))
    projections, boxes = _project(net, frames, layer, chosen, kept, batch_size, options)
    patches = np.stack(
        [
            [_patch(net, frames, image, box) for image, box in zip(*row, strict=True)]
            for row in zip(kept.image, boxes, strict=True)
        ]
    )
    return Panel(layer, chosen, kept, projections, patches, boxes, strongest)


def compiled_activations(net: Net, layer: str) -> Callable[[Params, Array], Array]:
    """The compiled way up to one layer: (params, images in network space) -> its output."""
    model = ZFNet(net.architecture, len(net.class_names))
    return parallel.jit(lambda params, images: forward(model, params, images)[1].activations[layer])


def _views(net: Net, frames: Frames, batch_size: int) -> Iterator[tuple[Array, np.ndarray]]:
    """The centre views of all pictures with their numbers, -1 for rows that only fill a batch."""
    prepare = _compiled_view(net)
    batches = all_batches(frames, batch_size=min(batch_size, len(frames)))
    first = 0
    for batch in tqdm(batches, "looking at pictures", disable=None, leave=False, unit="batch"):
        numbers = first + np.arange(len(batch.frames))
        yield prepare(batch.frames), np.where(batch.labels >= 0, numbers, -1)
        first += len(batch.frames)


def _compiled_view(net: Net) -> Callable[[np.ndarray], Array]:
    size = net.architecture.input_size
    return parallel.jit(lambda raw: centre_view(net.preprocessing.apply(raw), size))


def _project(
    net: Net,
    frames: Frames,
    layer: str,
    maps: np.ndarray,
    top: Top,
    batch_size: int,
    options: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """The projections (M, k, field, field, 3) and the boxes (M, k, 4) of a table of units."""
    arch, model = net.architecture, ZFNet(net.architecture, len(net.class_names))

    def one_each(params: Params, images: Array, units: Units) -> tuple[Array, Array]:
        _, trace = forward(model, params, images)
        if arch.is_spatial(layer):
            return deconvnet.project_units(arch, params, trace, layer, units, **options)
        width = trace.activations[layer].shape[-1]
        seed = jax.nn.one_hot(units.map, width) * units.value[:, None]
        whole = jnp.array([0, 0, arch.input_size, arch.input_size], jnp.int32)
        pixels = deconvnet.project(arch, params, trace, layer, seed, **options)
        return pixels, jnp.broadcast_to(whole, (len(seed), 4))

    project, prepare = parallel.jit(one_each), _compiled_view(net)
    filled = np.isfinite(top.value)
    image, row, col = (
        np.where(filled, column, 0).ravel() for column in (top.image, top.row, top.col)
    )
    value = np.where(filled, top.value, 0).ravel().astype(np.float32)
    units = Units(image, row, col, np.repeat(maps, top.value.shape[1]), value)
    batch_size = min(batch_size, len(value))
    projections, boxes = [], []
    starts = range(0, len(value), batch_size)
    for start in tqdm(starts, "projecting", disable=None, leave=False, unit="batch"):
        # The last batch repeats its last unit, so that there is one shape to compile.
        places = np.arange(start, start + batch_size).clip(max=len(value) - 1)
        batch = Units(*(column[places] for column in units))
        images = prepare(frames.batch(image[places]).frames)
        pixels, where = project(net.params, images, batch._replace(image=np.arange(batch_size)))
        valid = min(batch_size, len(value) - start)
        projections.append(np.asarray(pixels)[:valid])
        boxes.append(np.asarray(where)[:valid])
    shape = top.value.shape
    pixels = np.concatenate(projections)
    return pixels.reshape(*shape, *pixels.shape[1:]), np.concatenate(boxes).reshape(*shape, 4)


def _patch(net: Net, frames: Frames, image: int, box: np.ndarray) -> np.ndarray:
    """A picture's own pixels in a box of the network's input, `OUTSIDE` beyond its edges."""
    top, left, high, wide = box
    patch = np.full((high, wide, 3), OUTSIDE, np.uint8)
    if image == NOWHERE:
        return patch
    size = net.architecture.input_size
    seen = centre_view(frames.read(int(image))[0][None], size)[0]
    rows = slice(max(top, 0), min(top + high, size))
    cols = slice(max(left, 0), min(left + wide, size))
    patch[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = seen[
        rows, cols
    ]
    return patch
