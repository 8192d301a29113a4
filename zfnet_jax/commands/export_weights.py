"""Make one small file of a trained net, which every command takes as --ckpt."""

from functools import partial
from pathlib import Path
from typing import Literal

from zfnet_jax.commands import command_line
from zfnet_jax.networks import weights
from zfnet_jax.training import checkpoint


def main(ckpt: Path, out: Path, dtype: Literal["bfloat16", "float32"] = "bfloat16") -> None:
    """Write a net with its configuration, class names and mean to a .safetensors file.

    Example: zfnet-jax export-weights --ckpt runs/caltech101 --out caltech101.safetensors

    Args:
      ckpt: a run, a step of one, a .safetensors file, or a name such as caltech101.
      out: the file to write; its name ends in .safetensors.
      dtype: the type of the stored weights; bfloat16 takes half the space.
    """
    command_line.expect(
        "out", out, out.suffix == weights.SUFFIX, f"a name that ends in {weights.SUFFIX}"
    )
    net = checkpoint.load(ckpt)
    weights.write(net, out, dtype)
    print(f"wrote {out}: {out.stat().st_size / 1e6:.1f} MB, {len(net.class_names)} classes")


run = partial(command_line.run, main)
