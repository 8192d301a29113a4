"""Make a net of this package's out of another program's file, which every tool takes as --ckpt."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("import-weights")
