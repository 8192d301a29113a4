"""The same networks in PyTorch: built from an `Architecture`, with the same sizes and weights."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch
from timing import alone
from torch import Tensor, nn

from zfnet_jax.zfnet.architecture import (
    CHANNELS,
    Architecture,
    ContrastNorm,
    Conv,
    Dense,
    MaxPool,
    pads,
)
from zfnet_jax.zfnet.trace import Params

LAYOUTS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
"""The two orders in which PyTorch keeps maps; which is faster depends on processor and version."""

TOLERANCE = 1e-4
"""How far logits may differ, relative to the largest, for two nets to count as the same."""


def in_all_ways(
    make: Callable[..., Callable[[], object] | None], *args: Any
) -> dict[str, Callable[[], None]]:
    """Eager and compiled, in both layouts, each in a process of its own.

    Args:
      make: called with a layout's memory format, whether to compile, and the arguments; gives what
        to time, or None where it cannot be compiled.
      *args: of `make`.

    Returns:
      What to time, by name.
    """
    calls = {
        f"PyTorch {'compiled' if compile_it else 'eager'}, {layout}": alone(
            make, memory, compile_it, *args
        )
        for layout, memory in LAYOUTS.items()
        for compile_it in (False, True)
    }
    return {name: call for name, call in calls.items() if call}


def use_threads(count: int) -> None:
    """Gives PyTorch as many threads as JAX has, and JAX's treatment of denormal numbers."""
    torch.set_num_threads(count)
    torch.set_flush_denormal(True)


def network(arch: Architecture, params: Params) -> nn.Sequential:
    """The network with copies of the weights; it maps (N, 3, size, size) float32 to logits.

    Args:
      arch: the layers.
      params: this package's parameters, on the host.

    Returns:
      A module in training mode, its layers called by their names.
    """
    net = nn.Sequential()
    inputs = arch.input_shapes()
    for layer in arch:
        below = inputs[layer.name]
        match layer:
            case Conv():
                (_, bottom), (_, right) = pads(layer, *below[:2])
                extra = (0, right - layer.padding, 0, bottom - layer.padding)
                if any(extra):
                    net.add_module(f"{layer.name}_pad", nn.ZeroPad2d(extra))
                net.add_module(layer.name, _conv(layer, below[-1], params[layer.name]))
                net.add_module(f"{layer.name}_relu", nn.ReLU(inplace=True))
            case MaxPool():
                pool = nn.MaxPool2d(
                    layer.size, layer.stride, layer.padding, ceil_mode=layer.rounding == "up"
                )
                net.add_module(layer.name, pool)
            case ContrastNorm():
                norm = nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
                net.add_module(layer.name, norm)
            case Dense():
                if len(below) == 3:
                    net.add_module(f"{layer.name}_flatten", nn.Flatten())
                net.add_module(layer.name, _dense(below, params[layer.name]))
                if layer.relu:
                    net.add_module(f"{layer.name}_relu", nn.ReLU(inplace=True))
                if layer.dropout:
                    net.add_module(f"{layer.name}_dropout", nn.Dropout(layer.dropout))
    return net


def compiled(function: Callable[..., Tensor], *example: Tensor) -> Callable[..., Tensor] | None:
    """`torch.compile`, run once; None, and a line that says why, where it does not work here."""
    faster = torch.compile(function)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            faster(*example)
    except Exception as error:  # a missing C++ compiler, an unsupported Python, ...
        reason = " ".join(str(error).split())[:200]
        print(f"torch.compile does not work here, eager alone counts: {reason}")
        return None
    return faster


def expect_same(ours: np.ndarray | jax.Array, theirs: Tensor) -> None:
    """Refuses a comparison of two nets whose logits differ.

    Raises:
      ValueError: they differ by more than `TOLERANCE` of the largest.
    """
    mine, other = np.asarray(ours), theirs.detach().numpy()
    difference = float(np.abs(mine - other).max() / np.abs(mine).max())
    if not difference <= TOLERANCE:
        raise ValueError(f"logits differ by {difference:.1e} of the largest, expected {TOLERANCE}")
    print(f"same weights, same logits: they differ by {difference:.1e} of the largest")


def _conv(layer: Conv, inputs: int, weights: Mapping[str, np.ndarray | jax.Array]) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, layer.features, layer.size, layer.stride, layer.padding)
    _fill(conv, np.asarray(weights["kernel"]).transpose(3, 2, 0, 1), np.asarray(weights["bias"]))
    return conv


def _dense(below: tuple[int, ...], weights: Mapping[str, np.ndarray | jax.Array]) -> nn.Linear:
    kernel = np.asarray(weights["kernel"])
    if len(below) == 3:  # we flatten row, column, channel; PyTorch channel, row, column
        kernel = kernel.reshape(*below, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
    dense = nn.Linear(*kernel.shape)
    _fill(dense, kernel.T, np.asarray(weights["bias"]))
    return dense


def _fill(module: nn.Conv2d | nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    assert module.bias is not None
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias))


def images_of(frames: np.ndarray) -> Tensor:
    """Host pictures (N, H, W, 3) as a tensor (N, 3, H, W), which is channels last as it stands."""
    assert frames.shape[-1] == CHANNELS
    return torch.from_numpy(frames.copy()).permute(0, 3, 1, 2)
