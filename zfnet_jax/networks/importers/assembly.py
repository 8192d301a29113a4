"""What all importers share: foreign tensors to this package's parameters, and those to a net.

A foreign tensor is read when its layer is made and freed at once, largest first, so that an import
needs little more memory than the parameters themselves.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from zfnet_jax.data.preprocessing import Channels, Preprocessing, Scale, frame_size
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.trace import Params


class Tensor(NamedTuple):
    """An array of a foreign file.

    Attributes:
      name: what the file calls it.
      shape: its shape.
      read: reads it, any float type.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def stored(
    name: str,
    shape: Sequence[int],
    path: Path,
    dtype: DTypeLike,
    offset: int,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """An array that lies in a file, little-endian, from some byte on: read straight from there.

    Strides are in elements, none of them negative; by default those of the order of its indices.
    """
    shape, dtype = tuple(shape), np.dtype(dtype).newbyteorder("<")

    def read() -> np.ndarray:
        count = math.prod(shape) if strides is None else span(shape, strides)
        flat = np.fromfile(path, dtype, count, offset=offset)
        if flat.size != count:
            raise ValueError(f"tensor {name}: expected {count} values, the file has {flat.size}")
        if strides is None:
            return flat.reshape(shape)
        steps = [stride * dtype.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)

    return Tensor(name, shape, read)


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How many elements there are from an array's first to its last."""
    steps = zip(shape, strides, strict=True)
    return 0 if 0 in shape else 1 + sum((size - 1) * stride for size, stride in steps)


class Affine(NamedTuple):
    """The foreign tensors of a convolution or a dense layer.

    Attributes:
      kernel: (O, I / groups, size, size) of a convolution, (O, I) of a dense layer, whose inputs
        are flattened channel, row, column.
      bias: (O,); None for zeros.
      groups: the groups that maps and filters are divided into; a filter sees its own group's maps.
      inputs_first: whether a dense kernel is (I, O).
    """

    kernel: Tensor
    bias: Tensor | None
    groups: int = 1
    inputs_first: bool = False

    @property
    def features(self) -> int:
        """How many outputs the layer has."""
        return self.kernel.shape[1 if self.inputs_first else 0]


@dataclass(frozen=True)
class Convention:
    """How some program's nets were given their pictures, in the order of channels that they read.

    Attributes:
      mean: what is subtracted from each channel, 0..255.
      scale: what the difference is multiplied by.
      channels: that order.
    """

    mean: tuple[float, float, float]
    scale: Scale
    channels: Channels


CAFFE = Convention((103.939, 116.779, 123.68), 1.0, "bgr")
"""Caffe's and Caffe2's, with the mean that the ONNX model zoo's accuracies were measured with."""

TORCH = Convention(
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)),
    "rgb",
)
"""torchvision's and pytorchcv's: values 0..1, less the mean, by the standard deviation."""


class Imported(NamedTuple):
    """What a foreign file holds.

    Attributes:
      architecture: its layers, named as this package names them.
      params: their parameters, float32.
      convention: how pictures are prepared for it, as far as the file tells.
      note: what of the file was opened or left out, in words; empty if the file is the net alone.
    """

    architecture: Architecture
    params: Params
    convention: Convention
    note: str = ""

    @property
    def classes(self) -> int:
        """How many logits it has."""
        return self.params[self.architecture.layers[-1].name]["bias"].shape[0]


def parameters(arch: Architecture, affine: Mapping[str, Affine]) -> Params:
    """The parameters of an architecture, out of foreign tensors.

    Convolution kernels are transposed to HWIO; grouped ones become dense kernels with zeros between
    the groups, which compute the same. The rows of a dense kernel above a map go from the order
    channel, row, column to row, column, channel.

    Args:
      arch: the layers.
      affine: the tensors of every layer that has parameters.

    Returns:
      The parameters, NumPy float32.

    Raises:
      ValueError: a tensor has another shape than its layer needs, or holds a value that is not
        finite; or the net has many more parameters than the file has values.
    """
    classes = affine[arch.layers[-1].name].features
    shapes, inputs = arch.kernel_shapes(classes), arch.input_shapes(classes)
    for layer, tensors in affine.items():
        _expect_shapes(layer, tensors, shapes[layer], inputs[layer])
    _expect_stored(arch.parameter_count(classes), affine)
    largest_first = sorted(affine, key=lambda layer: -math.prod(affine[layer].kernel.shape))
    made = {layer: _layer(affine[layer], shapes[layer], inputs[layer]) for layer in largest_first}
    params: Params = {layer: made[layer] for layer in shapes}
    return params


_PARAMETERS_PER_VALUE, _FREE_PARAMETERS = 16, 2**24
"""Parameters for each stored value, and of any net: groups and shared tensors make more of them
than are stored, a small file that asks for much memory many times more."""


def _expect_stored(count: int, affine: Mapping[str, Affine]) -> None:
    tensors = {tensor.name: tensor for part in affine.values() for tensor in part[:2] if tensor}
    values = sum(math.prod(tensor.shape) for tensor in tensors.values())
    most = _FREE_PARAMETERS + _PARAMETERS_PER_VALUE * values
    if count > most:
        raise ValueError(
            f"{count:,} parameters of {values:,} stored values: expected {most:,} at most"
        )


def _expect_shapes(
    layer: str, affine: Affine, shape: tuple[int, ...], inputs: tuple[int, ...]
) -> None:
    *_, fan_in, fan_out = shape
    if len(shape) == 4:
        if affine.groups < 1 or fan_in % affine.groups or fan_out % affine.groups:
            raise ValueError(
                f"{affine.kernel.name}, {layer}: expected {affine.groups} groups to divide "
                f"{fan_in} and {fan_out} maps"
            )
        kernel: tuple[int, ...] = (fan_out, fan_in // affine.groups, *shape[:2])
    else:
        kernel = (fan_in, fan_out) if affine.inputs_first else (fan_out, fan_in)
    for tensor, expected in ((affine.kernel, kernel), (affine.bias, (fan_out,))):
        if tensor is not None and tensor.shape != expected:
            raise ValueError(
                f"tensor {tensor.name} of shape {tensor.shape}: expected {expected}, as the inputs "
                f"of {layer} are {' x '.join(map(str, inputs))} values"
            )


def _layer(affine: Affine, shape: tuple[int, ...], inputs: tuple[int, ...]) -> dict[str, Any]:
    kernel = _read(affine.kernel)
    if len(shape) == 4:
        kernel = _without_groups(kernel.transpose(2, 3, 1, 0), affine.groups)
    else:
        kernel = kernel if affine.inputs_first else kernel.T
        if len(inputs) == 3:
            rows, cols, maps = inputs
            kernel = kernel.reshape(maps, rows, cols, -1).transpose(1, 2, 0, 3).reshape(shape)
    bias = np.zeros(shape[-1], np.float32) if affine.bias is None else _read(affine.bias)
    return {"kernel": np.ascontiguousarray(kernel), "bias": np.ascontiguousarray(bias)}


def _without_groups(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The dense kernel, (H, W, I, O), of filters that see their group's maps, (H, W, I / g, O)."""
    if groups == 1:
        return kernel
    high, wide, inputs, outputs = kernel.shape
    dense = np.zeros((high, wide, groups, inputs, groups, outputs // groups), kernel.dtype)
    for group, filters in enumerate(np.split(kernel, groups, axis=-1)):
        dense[:, :, group, :, group] = filters
    return dense.reshape(high, wide, groups * inputs, outputs)


def _read(tensor: Tensor) -> np.ndarray:
    values = tensor.read()
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(f"tensor {tensor.name} of {values.dtype}: expected floats")
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"tensor {tensor.name}: expected finite values, it holds NaN or infinity")
    return array


def make_net(
    imported: Imported,
    file: Path,
    *,
    frame: int | None = None,
    mean: tuple[float, float, float] | None = None,
    scale: Scale | None = None,
    channels: Channels | None = None,
    class_names: Sequence[str] = (),
) -> Net:
    """A net that every tool can use.

    Args:
      imported: what the file holds.
      file: its path, for the name.
      frame: the size that pictures are resized and centre-cropped to; by default the paper's share.
      mean: what is subtracted from each channel, 0..255, in the order that the net reads.
      scale: what the difference is multiplied by: one number, or one for each channel.
      channels: the order that the net reads.
      class_names: the name of each logit; by default numbers.

    Returns:
      The net, without a training run.

    Raises:
      ValueError: the frame is smaller than the input, the mean is not finite, or there are not as
        many names as classes.
    """
    arch, convention = imported.architecture, imported.convention
    frame = frame_size(arch.input_size) if frame is None else frame
    if frame < arch.input_size:
        raise ValueError(f"frame {frame}: expected {arch.input_size}, the net's input, or more")
    if mean is not None and not np.isfinite(mean).all():
        raise ValueError(f"mean {mean}: expected finite values")
    names = tuple(class_names) or tuple(f"class {number}" for number in range(imported.classes))
    if len(names) != imported.classes:
        raise ValueError(f"{len(names)} class names: expected {imported.classes}, one for a logit")
    return Net(
        architecture=arch,
        params=imported.params,
        preprocessing=Preprocessing(
            frame,
            np.array(mean or convention.mean, np.float32).reshape(1, 1, 3),
            convention.scale if scale is None else scale,
            channels or convention.channels,
        ),
        class_names=names,
        source=file.stem,
    )
