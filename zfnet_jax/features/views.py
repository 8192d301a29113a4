"""How a net sees a data set: raw frames, their centre views, and every layer's output.

The picture that a unit is looked for in is the centre crop of the frame, in network space.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

import jax
import numpy as np
from jax import Array
from jax.tree_util import Partial

from zfnet_jax.core import compilation
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.preprocessing import Preprocessing, centre_view
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import ZFNet, forward
from zfnet_jax.zfnet.trace import Params


def forward_from_raw(net: Net) -> Partial:
    """What `mine` takes: raw frames -> (logits, every layer's output), seen in the centre view.

    Nets of one architecture give equal functions of other parameters, which compile once.
    """
    given = net.preprocessing
    function = _forward_from_raw(
        net.architecture, len(net.class_names), given.frame, given.scale, given.channels
    )
    return Partial(function, net.params, given.mean)


@cache
def _forward_from_raw(
    arch: Architecture, classes: int, frame: int, scale: Any, channels: Literal["rgb", "bgr"]
) -> Callable[[Params, np.ndarray, Array], tuple[Array, dict[str, Array]]]:
    model = ZFNet(arch, classes)

    def function(params: Params, mean: np.ndarray, raw: Array) -> tuple[Array, dict[str, Array]]:
        images = centre_view(
            Preprocessing(frame, mean, scale, channels).apply(raw), arch.input_size
        )
        logits, trace = forward(model, params, images)
        return logits, trace.activations

    return function


def whole_batch(frames: ImageSet, batch_size: int) -> int:
    """The size of a batch of frames: not more than there are, and a multiple of the devices."""
    devices = jax.local_device_count()
    return -(-min(batch_size, len(frames)) // devices) * devices


def numbered_batches(
    frames: ImageSet, batch_size: int, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Raw frames from the first on, their numbers, -1 for rows that fill a batch, their labels."""
    items = np.arange(first, len(frames))
    for batch in all_batches(frames, batch_size=batch_size, items=items):
        numbers = first + np.arange(batch_size)
        yield batch.frames, np.where(numbers < len(frames), numbers, -1), batch.labels
        first += batch_size


def network_input(net: Net) -> Callable[[np.ndarray], Array]:
    """The compiled way from raw frames to what the net sees of them, in network space."""
    size = net.architecture.input_size
    return compilation.jit(lambda raw: centre_view(net.preprocessing.apply(raw), size))
