"""Make one small file of a trained net, which every tool takes as --ckpt."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("export-weights")
