"""The architecture as data: a tuple of small frozen layer descriptions.

The size of every map, the number of parameters and the receptive field of every unit are integer
arithmetic over that tuple. The forward pass goes through the tuple from its start, the deconvnet
from its end, and an ablation edits it.

Where sizes are rounded up (`layers`), the size of a layer's input does not follow from that of its
output. So all sizes are computed here, from the picture's.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from zfnet_jax.core.checked import expect_one_of
from zfnet_jax.zfnet.layers import (
    ContrastNorm,
    Conv,
    Dense,
    Layer,
    MaxPool,
    Pads,
    Rounding,
    Window,
    check,
    output_size,
    pads,
)

__all__ = [
    "ALEXNET",
    "CHANNELS",
    "REGISTRY",
    "ZFNET",
    "ZFNET_128",
    "ZFNET_SMALL",
    "ZFNET_WIDE",
    "Architecture",
    "ContrastNorm",
    "Conv",
    "Dense",
    "Layer",
    "MaxPool",
    "Pads",
    "ReceptiveField",
    "Rounding",
    "Window",
    "from_json",
    "get",
    "output_size",
    "pads",
    "to_json",
]

CHANNELS = 3
"""Every net reads RGB."""

Shape = tuple[int, ...]


class ReceptiveField(NamedTuple):
    """The input pixels that a layer's units see, the same for rows and columns.

    Exact where sizes are rounded up; below a layer that rounds down, a box at the far edge may hold
    left-over pixels that no window reads.

    Attributes:
      size: width and height in input pixels.
      stride: input pixels from one unit to the next.
      offset: where the box of unit (0, 0) begins; negative where padding is in it.
    """

    size: int
    stride: int
    offset: int

    def box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """The (top, left, height, width) of one unit in input pixels, maybe past the edges."""
        top, left = (self.offset + self.stride * index for index in (row, col))
        return top, left, self.size, self.size


@dataclass(frozen=True)
class Architecture:
    """A chain of layers and the size of the square picture it reads.

    Attributes:
      name: what `get` and a configuration file call it.
      layers: from the pixels up; the spatial layers come before the dense ones.
      input_size: width and height of the input in pixels.
    """

    name: str
    layers: tuple[Layer, ...]
    input_size: int

    def __post_init__(self) -> None:
        """Refuses what cannot be computed, with the layer's name."""
        _check(self)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> Layer:
        return self.layers[self.index(name)]

    def index(self, name: str) -> int:
        """The position of the layer called `name`; ValueError names the layers there are."""
        names = [layer.name for layer in self.layers]
        expect_one_of("layer", name, names)
        return names.index(name)

    @property
    def convolutions(self) -> tuple[Conv, ...]:
        """Its convolutions, from the pixels up."""
        return tuple(layer for layer in self.layers if isinstance(layer, Conv))

    def is_spatial(self, name: str) -> bool:
        """Whether the layer's output is a stack of maps rather than a vector."""
        return not isinstance(self[name], Dense)

    def at(self, input_size: int) -> "Architecture":
        """The same layers for pictures of `input_size` pixels."""
        return dataclasses.replace(self, input_size=input_size)

    def edit(self, name: str, **changes: Any) -> "Architecture":
        """The architecture with some fields of one layer changed: `edit("conv2", stride=1)`."""
        position = self.index(name)
        layer = dataclasses.replace(self.layers[position], **changes)
        layers = (*self.layers[:position], layer, *self.layers[position + 1 :])
        return dataclasses.replace(self, layers=layers)

    def with_features(self, **features: int) -> "Architecture":
        """The architecture with other widths: `with_features(fc6=2048, fc7=2048)`."""
        edited = self
        for name, width in features.items():
            edited = edited.edit(name, features=width)
        return edited

    def without(self, *names: str) -> "Architecture":
        """The architecture with the named layers taken out."""
        positions = {self.index(name) for name in names}
        layers = tuple(layer for i, layer in enumerate(self.layers) if i not in positions)
        return dataclasses.replace(self, layers=layers)

    def shapes(self, num_classes: int = 1000) -> dict[str, Shape]:
        """Every layer's output shape without the batch: (rows, columns, maps), or (features,)."""
        shapes: dict[str, Shape] = {}
        below: Shape = (self.input_size, self.input_size, CHANNELS)
        for layer in self.layers:
            match layer:
                case Conv():
                    rows = output_size(layer, below[0])
                    below = (rows, rows, layer.features)
                case MaxPool():
                    rows = output_size(layer, below[0])
                    below = (rows, rows, below[-1])
                case ContrastNorm():
                    pass
                case Dense():
                    below = (num_classes if layer.features is None else layer.features,)
            shapes[layer.name] = below
        return shapes

    def input_shapes(self, num_classes: int = 1000) -> dict[str, Shape]:
        """Every layer's input shape without the batch."""
        picture = (self.input_size, self.input_size, CHANNELS)
        outputs = self.shapes(num_classes)
        return dict(zip(outputs, (picture, *outputs.values()), strict=False))

    def kernel_shapes(self, num_classes: int = 1000) -> dict[str, Shape]:
        """The kernel shape of every layer that has one: HWIO for maps, IO for vectors."""
        inputs, outputs = self.input_shapes(num_classes), self.shapes(num_classes)
        kernels: dict[str, Shape] = {}
        for layer in self.layers:
            fan_in, fan_out = inputs[layer.name], outputs[layer.name][-1]
            if isinstance(layer, Conv):
                kernels[layer.name] = (layer.size, layer.size, fan_in[-1], fan_out)
            elif isinstance(layer, Dense):
                kernels[layer.name] = (math.prod(fan_in), fan_out)
        return kernels

    def parameter_count(self, num_classes: int = 1000) -> int:
        """The number of weights and biases."""
        kernels = self.kernel_shapes(num_classes).values()
        return sum(math.prod(kernel) + kernel[-1] for kernel in kernels)

    def receptive_field(self, name: str) -> ReceptiveField:
        """The receptive field of a spatial layer's units.

        Raises:
          ValueError: the layer is dense, so that each unit sees the whole picture.
        """
        if not self.is_spatial(name):
            raise ValueError(f"layer {name!r}: expected a spatial layer, this one sees everything")
        size, stride, offset = 1, 1, 0
        for layer in self.layers[: self.index(name) + 1]:
            if isinstance(layer, Window):
                size += (layer.size - 1) * stride
                offset -= layer.padding * stride
                stride *= layer.stride
        return ReceptiveField(size, stride, offset)


def _check(arch: Architecture) -> None:
    names = [layer.name for layer in arch.layers]
    if not names:
        raise ValueError(f"architecture {arch.name!r}: expected at least one layer, it has none")
    if len(set(names)) != len(names):
        raise ValueError(f"layers {names}: expected every name once")
    dense = False
    for layer in arch.layers:
        check(layer)
        if dense and not isinstance(layer, Dense):
            raise ValueError(f"layer {layer.name!r}: expected maps below it, not a dense layer")
        dense = dense or isinstance(layer, Dense)
    for name, shape in arch.shapes().items():
        if min(shape) < 1:
            raise ValueError(
                f"input size {arch.input_size}: expected a picture large enough for {name!r}"
            )


ZFNET = Architecture(
    name="zfnet",
    layers=(
        Conv("conv1", features=96, size=7, stride=2),
        MaxPool("pool1"),
        ContrastNorm("norm1"),
        Conv("conv2", features=256, size=5, stride=2),
        MaxPool("pool2"),
        ContrastNorm("norm2"),
        Conv("conv3", features=384, size=3, padding=1),
        Conv("conv4", features=384, size=3, padding=1),
        Conv("conv5", features=256, size=3, padding=1),
        MaxPool("pool5"),
        Dense("fc6", features=4096),
        Dense("fc7", features=4096),
        Dense("fc8", features=None, relu=False, dropout=0.0),
    ),
    input_size=224,
)
"""The paper's Fig 3. Its padding is not stated; sizes rounded up with no padding are ours."""

ZFNET_WIDE = dataclasses.replace(
    ZFNET.with_features(conv3=512, conv4=1024, conv5=512), name="zfnet_wide"
)
"""The paper's model (b) of Table 2: layers 3, 4, 5 of 512, 1024, 512 maps."""

ALEXNET = Architecture(
    name="alexnet",
    layers=(
        Conv("conv1", features=96, size=11, stride=4),
        ContrastNorm("norm1"),
        MaxPool("pool1"),
        Conv("conv2", features=256, size=5, padding=2),
        ContrastNorm("norm2"),
        MaxPool("pool2"),
        *ZFNET.layers[ZFNET.index("conv3") :],
    ),
    input_size=224,
)
"""The paper's replication of Krizhevsky et al. 2012: its order of norm and pool, no groups."""

ZFNET_SMALL = dataclasses.replace(
    ZFNET.edit("conv1", size=5, stride=1)
    .edit("conv2", size=3, stride=1)
    .with_features(conv1=32, conv2=64, conv3=96, conv4=96, conv5=64, fc6=256, fc7=256)
    .at(64),
    name="zfnet_small",
)
"""ZFNet's structure for 64-px pictures: conv5 sees 39 px, 0.61 of them, like 139 of 224."""

ZFNET_128 = dataclasses.replace(
    ZFNET.edit("conv2", stride=1)
    .with_features(conv1=64, conv2=128, conv3=256, conv4=256, conv5=192, fc6=768, fc7=768)
    .at(128),
    name="zfnet_128",
)
"""ZFNet's structure for 128-px pictures and small computers: conv5 sees 83 px, 0.65 of them."""

REGISTRY = MappingProxyType(
    {arch.name: arch for arch in (ZFNET, ZFNET_WIDE, ALEXNET, ZFNET_SMALL, ZFNET_128)}
)
"""The architectures that have a name."""


def get(name: str) -> Architecture:
    """The architecture called `name`, at another input size where one follows: "zfnet@128".

    Raises:
      ValueError: no architecture has that name, or the size is no whole number.
    """
    base, _, size = name.partition("@")
    expect_one_of("architecture", base, REGISTRY)
    if "@" in name and not size.isdecimal():
        raise ValueError(f"architecture {name!r}: expected NAME or NAME@SIZE")
    return REGISTRY[base].at(int(size)) if size else REGISTRY[base]


_KINDS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Conv, MaxPool, ContrastNorm, Dense)
}


def to_json(arch: Architecture) -> dict[str, Any]:
    """The architecture as plain JSON data, which `from_json` reads."""
    layers = [{"kind": type(layer).__name__, **dataclasses.asdict(layer)} for layer in arch.layers]
    return {"name": arch.name, "input_size": arch.input_size, "layers": layers}


def from_json(data: dict[str, Any]) -> Architecture:
    """The architecture that `to_json` wrote.

    Raises:
      ValueError: the data is not of that form.
    """
    try:
        layers = tuple(
            _KINDS[layer["kind"]](**{key: layer[key] for key in layer if key != "kind"})
            for layer in data["layers"]
        )
        return Architecture(data["name"], layers, data["input_size"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"architecture {data!r}: expected what to_json writes ({error})") from None
