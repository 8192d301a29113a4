"""Make a net of another program's file, which every command takes as --ckpt."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zfnet_jax.commands import command_line
from zfnet_jax.networks import weights
from zfnet_jax.networks.importers import onnx, torch
from zfnet_jax.networks.importers.assembly import make_net


def main(
    file: tyro.conf.Positional[Path],
    from_: Annotated[Literal["onnx", "torch"], tyro.conf.arg(name="from")],
    out: Path,
    class_names: Path | None = None,
    frame: int | None = None,
    mean: tuple[float, float, float] | None = None,
    scale: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FACTOR [FACTOR FACTOR]")] = (),
    channels: Literal["rgb", "bgr"] | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """Import an ONNX model or a PyTorch checkpoint, with how pictures are prepared for it.

    Example: zfnet-jax import-weights --from onnx zfnet512-9.onnx --out zfnet512.safetensors

    Args:
      file: an .onnx file; or what PyTorch wrote, .pth, .ckpt or .safetensors, of torchvision's
        alexnet or pytorchcv's zfnet, zfnetb, alexnet or alexnetb.
      from_: the kind of file.
      out: the file to write; its name ends in .safetensors.
      class_names: a text file with one name a line, in the order of the outputs.
      frame: the size that pictures are resized and centre-cropped to; by default 256 of 224.
      mean: what is subtracted, 0..255, for each channel in the order that the net reads; by default
        Caffe's of an ONNX model, PyTorch's of a state dict and of an ONNX model that PyTorch wrote.
      scale: what the difference is multiplied by, once or for each channel; the default likewise.
      channels: the order that the net reads; the default likewise, which is bgr for Caffe's.
      dtype: the type of the stored weights; bfloat16 takes half the space.
    """
    command_line.expect(
        "out", out, out.suffix == weights.SUFFIX, f"a name that ends in {weights.SUFFIX}"
    )
    command_line.expect(
        "out", out, out.resolve() != file.resolve(), "another file than the one imported"
    )
    command_line.expect("scale", scale, len(scale) in (0, 1, 3), "one number or three")
    names = _lines(class_names) if class_names else []
    imported = {"onnx": onnx.load, "torch": torch.load}[from_](file)
    net = make_net(
        imported,
        file,
        frame=frame,
        mean=mean,
        scale=(scale if len(scale) == 3 else scale[0]) if scale else None,
        channels=channels,
        class_names=names,
    )
    weights.write(net, out, dtype)
    arch, preprocessing = net.architecture, net.preprocessing
    if imported.note:
        print(f"{file}: {imported.note}")
    print(
        f"pictures: {preprocessing.frame} px, {preprocessing.channels}, mean "
        f"{[round(value, 3) for value in preprocessing.mean.ravel().tolist()]}, "
        f"scale {preprocessing.scale}"
    )
    print(
        f"wrote {out}: {arch.name}, {len(arch.layers)} layers, "
        f"{arch.parameter_count(imported.classes):,} parameters, {imported.classes} classes"
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a text file, one class name a line") from None


run = partial(command_line.run, main)
