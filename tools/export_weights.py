"""Make one small file of a trained net, which every tool takes as --ckpt."""

from pathlib import Path
from typing import Literal

from zfnet_jax import checkpoint, cli, weights


def main(ckpt: Path, out: Path, dtype: Literal["bfloat16", "float32"] = "bfloat16") -> None:
    """Write a net with its configuration, class names and mean to a .safetensors file.

    Example: python tools/export_weights.py --ckpt runs/caltech101 --out caltech101.safetensors

    Args:
      ckpt: a run, a step of one, or a .safetensors file.
      out: the file to write; its name ends in .safetensors.
      dtype: the type of the stored weights; bfloat16 takes half the space.
    """
    cli.expect("out", out, out.suffix == weights.SUFFIX, f"a name that ends in {weights.SUFFIX}")
    net = checkpoint.load(ckpt)
    weights.write(net, out, dtype)
    print(f"wrote {out}: {out.stat().st_size / 1e6:.1f} MB, {len(net.class_names)} classes")


if __name__ == "__main__":
    cli.run(main)
