"""The nets that PyTorch state dicts hold.

A state dict has names and shapes, but no strides, paddings, pools or norms. So the family of nets
that it belongs to is recognised, whose source code says these; widths and the number of classes are
the tensors' own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zfnet_jax.networks.importers import torch_file
from zfnet_jax.networks.importers.assembly import TORCH, Affine, Imported, Tensor, parameters
from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv, Dense, Layer, MaxPool


class Family(NamedTuple):
    """Nets of one structure.

    Attributes:
      architecture: with the widths of its own published net.
      prefixes: by layer, what its tensors' names begin with.
      any_width: whether nets of other widths are taken for this family.
    """

    architecture: Architecture
    prefixes: Mapping[str, str]
    any_width: bool = True

    @property
    def widths(self) -> list[int]:
        """How many maps its convolutions have."""
        return [layer.features for layer in _convolutions(self.architecture)]


def _upper(*widths: int) -> tuple[Layer, ...]:
    """Layers 3 to 5, alike in all families but for their widths."""
    return tuple(
        Conv(f"conv{n}", width, size=3, padding=1, rounding="down")
        for n, width in enumerate(widths, start=3)
    )


def _dense(dropout: float = 0.5) -> tuple[Layer, ...]:
    return (
        Dense("fc6", 4096),
        Dense("fc7", 4096, dropout=dropout),
        Dense("fc8", None, relu=False, dropout=0.0),
    )


_FLOORED = [MaxPool(name, rounding="down") for name in ("pool1", "pool2", "pool5")]
_CEILED = [MaxPool(name) for name in ("pool1", "pool2", "pool5")]

# torchvision's two dropouts come before its first two dense layers. The one that acts on maps is
# left out: it does nothing outside of training.
_TORCHVISION_ALEXNET = (
    Conv("conv1", 64, size=11, stride=4, padding=2, rounding="down"),
    _FLOORED[0],
    Conv("conv2", 192, size=5, padding=2, rounding="down"),
    _FLOORED[1],
    *_upper(384, 256, 256),
    _FLOORED[2],
    *_dense(dropout=0.0),
)


def _pytorchcv(
    conv1: Conv, conv2: Conv, upper: tuple[int, int, int], norms: bool = True
) -> tuple[Layer, ...]:
    norm = lambda name: (ContrastNorm(name),) if norms else ()
    return (
        conv1,
        *norm("norm1"),
        _CEILED[0],
        conv2,
        *norm("norm2"),
        _CEILED[1],
        *_upper(*upper),
        _CEILED[2],
        *_dense(),
    )


_ZFNET = (
    Conv("conv1", 96, size=7, stride=2, padding=1, rounding="down"),
    Conv("conv2", 256, size=5, stride=2, rounding="down"),
)
_PYTORCHCV = {
    "zfnetb": _pytorchcv(*_ZFNET, (512, 1024, 512)),
    "zfnet": _pytorchcv(*_ZFNET, (384, 384, 256)),
    "alexnetb": _pytorchcv(
        Conv("conv1", 64, size=11, stride=4, padding=2, rounding="down"),
        Conv("conv2", 192, size=5, padding=2, rounding="down"),
        (384, 256, 256),
        norms=False,
    ),
    "alexnet": _pytorchcv(
        Conv("conv1", 96, size=11, stride=4, rounding="down"),
        Conv("conv2", 256, size=5, padding=2, rounding="down"),
        (384, 384, 256),
    ),
}

_NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
_TORCHVISION_NAMES = (
    *(f"features.{place}" for place in (0, 3, 6, 8, 10)),
    *(f"classifier.{place}" for place in (1, 4, 6)),
)
_PYTORCHCV_NAMES = (
    "features.stage1.unit1.conv",
    "features.stage2.unit1.conv",
    *(f"features.stage3.unit{unit}.conv" for unit in (1, 2, 3)),
    *(f"output.fc{place}{'' if place == 3 else '.fc'}" for place in (1, 2, 3)),
)

FAMILIES = (
    Family(
        Architecture("torchvision alexnet", _TORCHVISION_ALEXNET, 224),
        dict(zip(_NAMES, _TORCHVISION_NAMES, strict=True)),
    ),
    *(
        Family(
            Architecture(f"pytorchcv {name}", layers, 224),
            dict(zip(_NAMES, _PYTORCHCV_NAMES, strict=True)),
            # Those of 11x11 filters differ in padding and norms, which leave no trace in a state
            # dict: only the very widths of alexnetb tell it from alexnet.
            any_width=name not in ("zfnetb", "alexnetb"),
        )
        for name, layers in _PYTORCHCV.items()
    ),
)
"""What is recognised, the special before the general. pytorchcv rounds as Caffe does: down at
convolutions, up at pools."""


def load(path: Path) -> Imported:
    """Reads a state dict.

    Args:
      path: a .safetensors file, or any other that `torch.save` wrote.

    Returns:
      The net.

    Raises:
      ValueError: the file cannot be read, holds anything but finite tensors, or is of no family
        that is known.
    """
    if not path.is_file():
        raise ValueError(f"weights {path}: expected a file, there is none")
    try:
        tensors = torch_file.read(path)
        family = _family(tensors)
        given = {
            layer: Affine(tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"])
            for layer, prefix in family.prefixes.items()
        }
        del tensors
        spatial = {
            layer.name: given[layer.name].features for layer in _convolutions(family.architecture)
        }
        dense = {name: given[name].features for name in ("fc6", "fc7")}
        arch = family.architecture.with_features(**spatial, **dense)
        return Imported(arch, parameters(arch, given), TORCH)
    except ValueError as error:
        raise ValueError(f"weights {path}: {error}") from None


def _convolutions(arch: Architecture) -> list[Conv]:
    return [layer for layer in arch if isinstance(layer, Conv)]


def _family(tensors: Mapping[str, Tensor]) -> Family:
    """The family that names, ranks and window sizes tell."""
    for family in FAMILIES:
        names = {f"{prefix}.{kind}" for prefix in family.prefixes.values() for kind in _KINDS}
        if names != tensors.keys():
            continue
        found = [
            tensors[f"{family.prefixes[layer.name]}.weight"].shape
            for layer in _convolutions(family.architecture)
        ]
        sizes = [(layer.size, layer.size) for layer in _convolutions(family.architecture)]
        if [shape[2:] for shape in found] == sizes and (
            family.any_width or [shape[0] for shape in found] == family.widths
        ):
            return family
    known = ", ".join(family.architecture.name for family in FAMILIES)
    some = ", ".join(f"{each.name} {each.shape}" for each in list(tensors.values())[:3])
    raise ValueError(f"expected the tensors of {known}; found {len(tensors)}: {some}, ...")


_KINDS = ("weight", "bias")
