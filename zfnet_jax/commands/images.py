"""The pictures that a command looks at: those that are named, or the net's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.pictures import open_pictures
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.source import Skipped, Source, warn_of_skipped
from zfnet_jax.data.splits import open_splits
from zfnet_jax.networks.net import Net


class Images(NamedTuple):
    """Pictures to look at.

    Attributes:
      source: the pictures.
      skipped: files that are no readable pictures.
      origin: where they come from, in words.
    """

    source: Source
    skipped: Sequence[Skipped]
    origin: str

    def frames(self, net: Net, cache_gib: float | None = None) -> ImageSet:
        """The pictures at the net's frame size, decoded when they are read.

        Args:
          net: the net.
          cache_gib: the memory for decoded pictures in GiB; by default what the net's training
            run had.
        """
        if cache_gib is None:
            cache_gib = (net.config or TrainConfig()).data.cache_gib
        return ImageSet.of(self.source, net.preprocessing.frame, cache_gib)


def training_of(net: Net) -> TrainConfig:
    """The training run that made a net.

    Raises:
      ValueError: the net comes from another program.
    """
    if net.config is None:
        raise ValueError(
            f"{net.name}: this net was imported, without the pictures that it was trained on; "
            "expected --images, or --source for an evaluation"
        )
    return net.config


def open_images(net: Net, images: Sequence[Path]) -> Images:
    """Opens the pictures that a net is to be looked at with, and says which files were skipped.

    Args:
      net: the net.
      images: files and folders; none stands for the net's own validation set.

    Raises:
      ValueError: they cannot be used.
    """
    if images:
        source, skipped = open_pictures(images)
        opened = Images(source, skipped, ", ".join(map(str, images)))
    else:
        config = training_of(net)
        splits = open_splits(config.data, config.seed)
        opened = Images(splits.val, splits.skipped, f"{config.data.source}, validation")
    warn_of_skipped(opened.skipped)
    return opened
