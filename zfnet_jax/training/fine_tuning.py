"""Starting a run from the weights of another net."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.trace import Params


class Start(NamedTuple):
    """What a run takes from another net.

    Attributes:
      params: the parameters of the layers that are taken, float32.
      preprocessing: the other net's, where its first layer is taken; None where the run learns its
        own.
      text: in one line, what is taken and what is new.
    """

    params: Params
    preprocessing: Preprocessing | None
    text: str


def start_from(net: Net, name: str, arch: Architecture, class_names: Sequence[str]) -> Start:
    """What a run of an architecture takes from another net.

    A layer is taken where the other net has one of the same name whose kernel has the same shape;
    the last layer only where the classes are the same too. With the first layer its preprocessing
    is taken, since the kernel was learned for it: unchanged where the input size is the same, else
    the mean colour in place of the mean of each pixel. Without it the run learns its own mean.

    Args:
      net: the other net.
      name: what messages call it.
      arch: the architecture of the run.
      class_names: the classes of the run.

    Raises:
      ValueError: no layer agrees.
    """
    shapes = arch.kernel_shapes(len(class_names))
    first, *_, last = shapes
    taken = [
        layer
        for layer, shape in shapes.items()
        if layer in net.params and net.params[layer]["kernel"].shape == shape
        if layer != last or net.class_names == tuple(class_names)
    ]
    if not taken:
        raise ValueError(
            f"init_from {name}: no layer has the name and the shape of one of {arch.name} at "
            f"{arch.input_size} pixels (its {_first_kernel(net)}, here {first} {shapes[first]}); "
            "expected a net of this architecture, or another --architecture"
        )
    params = {
        layer: {kind: jnp.asarray(array, jnp.float32) for kind, array in net.params[layer].items()}
        for layer in taken
    }
    preprocessing = _preprocessing(net, arch) if first in taken else None
    new = [layer for layer in shapes if layer not in taken]
    text = (
        f"from {name}: took {', '.join(taken)}"
        f"{' and the preprocessing' if preprocessing else ''}; "
        f"new: {', '.join(new) if new else 'none'}"
    )
    if last in new:
        text += f" ({last} for {len(class_names)} classes)"
    return Start(params, preprocessing, text)


def _preprocessing(net: Net, arch: Architecture) -> Preprocessing:
    own = net.preprocessing
    if net.architecture.input_size == arch.input_size:
        return own
    mean = np.asarray(own.mean, np.float64).mean(axis=(0, 1), keepdims=True).astype(np.float32)
    return Preprocessing(frame_size(arch.input_size), mean, own.scale, own.channels)


def _first_kernel(net: Net) -> str:
    name, layer = next(iter(net.params.items()))
    return f"{name} {tuple(layer['kernel'].shape)}"
