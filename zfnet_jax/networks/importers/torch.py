"""The nets that PyTorch state dicts hold.

A state dict has names and shapes, but no strides, paddings, pools or norms. So the family of nets
that it belongs to is recognised, whose source code says these; widths and the number of classes are
the tensors' own.
"""

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from zfnet_jax.networks.importers import torch_file
from zfnet_jax.networks.importers.assembly import TORCH, Affine, Imported, Tensor, parameters
from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv, Dense, Layer, MaxPool


class Family(NamedTuple):
    """Nets of one structure.

    Attributes:
      architecture: with the widths of its own published net.
      modules: by layer, the module whose tensors these are.
      any_width: whether nets of other widths are taken for this family.
    """

    architecture: Architecture
    modules: Mapping[str, str]
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
    *(f"features.{number}" for number in (0, 3, 6, 8, 10)),
    *(f"classifier.{number}" for number in (1, 4, 6)),
)
_PYTORCHCV_NAMES = (
    "features.stage1.unit1.conv",
    "features.stage2.unit1.conv",
    *(f"features.stage3.unit{unit}.conv" for unit in (1, 2, 3)),
    *(f"output.fc{number}{'' if number == 3 else '.fc'}" for number in (1, 2, 3)),
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
"""The families that are recognised, the special before the general. pytorchcv rounds as Caffe does:
down at convolutions, up at pools."""


def load(path: Path) -> Imported:
    """Reads a state dict.

    Args:
      path: a .safetensors file, or any other that `torch.save` wrote; the state dict may be an
        entry of a training checkpoint, and its names may begin as a wrapper's do.

    Returns:
      The net.

    Raises:
      ValueError: the file cannot be read, holds anything but finite tensors, or is of no family
        that is known.
    """
    if not path.is_file():
        raise ValueError(f"weights {path}: expected a file, there is none")
    try:
        state = torch_file.read(path)
        tensors, prefix = _unwrapped(state.tensors)
        family = _family(tensors)
        affine = {
            layer: Affine(tensors[f"{module}.weight"], tensors[f"{module}.bias"])
            for layer, module in family.modules.items()
        }
        widths = {name: affine[name].features for name in _inner_layers(family.architecture)}
        arch = family.architecture.with_features(**widths)
        params = parameters(arch, affine)
        return Imported(arch, params, TORCH, _note(state.entry, prefix))
    except ValueError as error:
        raise ValueError(f"weights {path}: {error}") from None


_WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""The names that PyTorch's wrappers of modules give what they wrap."""


def _unwrapped(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """A state dict's tensors by the names that the net itself gives them.

    Returns:
      The tensors, without wrappers' parts of their names and without what all names begin with;
      and what was left out, such as "module.model.".
    """
    split = {name: name.split(".") for name in tensors}
    parts_of_all = {part for parts in split.values() for part in parts}
    wrappers = [part for part in _WRAPPERS if part in parts_of_all]
    names = {name: [p for p in parts if p not in _WRAPPERS] for name, parts in split.items()}
    # A module's name and its tensor's stay.
    outer = zip(*(parts[:-2] for parts in names.values()), strict=False)
    shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, outer)]
    names = {name: parts[len(shared) :] for name, parts in names.items()}
    plain = {".".join(parts): tensors[name] for name, parts in names.items()}
    if len(plain) < len(tensors):
        raise ValueError(f"names of tensors: expected them to differ without {', '.join(wrappers)}")
    return plain, "".join(f"{part}." for part in [*wrappers, *shared])


def _note(entry: str | None, prefix: str) -> str:
    """What was opened and left out, in words; empty if nothing was."""
    parts = [f"opened {entry!r} of a training checkpoint"] if entry else []
    parts += [f"left {prefix!r} out of the names of its tensors"] if prefix else []
    return ", ".join(parts)


def _convolutions(arch: Architecture) -> list[Conv]:
    return [layer for layer in arch if isinstance(layer, Conv)]


def _inner_layers(arch: Architecture) -> list[str]:
    """The layers whose widths are the tensors' own: all that have weights but the last."""
    return list(arch.kernel_shapes())[:-1]


def _family(tensors: Mapping[str, Tensor]) -> Family:
    """The family that names, ranks and window sizes tell."""
    for family in FAMILIES:
        names = {f"{module}.{kind}" for module in family.modules.values() for kind in _KINDS}
        if names != tensors.keys():
            continue
        _expect_ranks(family, tensors)
        convolutions = _convolutions(family.architecture)
        shapes = [tensors[f"{family.modules[layer.name]}.weight"].shape for layer in convolutions]
        if [shape[2:] for shape in shapes] == [(layer.size,) * 2 for layer in convolutions] and (
            family.any_width or [shape[0] for shape in shapes] == family.widths
        ):
            return family
    known = ", ".join(family.architecture.name for family in FAMILIES)
    if norms := [name for name in tensors if name.endswith(".running_mean")]:
        raise ValueError(
            f"expected the tensors of {known}, which have no BatchNorm; found BatchNorm's "
            f"{', '.join(name[:80] for name in norms[:3])}"
        )
    some = ", ".join(f"{tensor.name[:80]} {tensor.shape}" for tensor in list(tensors.values())[:3])
    raise ValueError(f"expected the tensors of {known}; found {len(tensors)}: {some}, ...")


def _expect_ranks(family: Family, tensors: Mapping[str, Tensor]) -> None:
    for layer, module in family.modules.items():
        form = "(O, I, H, W)" if isinstance(family.architecture[layer], Conv) else "(O, I)"
        kernel = tensors[f"{module}.weight"]
        if len(kernel.shape) != form.count(",") + 1:
            raise ValueError(f"tensor {kernel.name} of shape {kernel.shape}: expected {form}")


_KINDS = ("weight", "bias")
