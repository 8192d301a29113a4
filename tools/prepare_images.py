"""Packs a folder of pictures into a data set that training reads quickly."""

from zfnet_jax.commands import prepare_images

if __name__ == "__main__":
    prepare_images.run()
