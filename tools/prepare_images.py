"""Packs a folder of pictures into a data set that training reads quickly."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("prepare-images")
