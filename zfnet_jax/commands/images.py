"""The pictures that a command looks at: those that are named, or the net's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.labels import known_labels
from zfnet_jax.data.pictures import open_pictures
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.sample_pictures import sample_pictures
from zfnet_jax.data.source import NoDataSet, Skipped, Source, warn_of_skipped
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


def open_images(net: Net, images: Sequence[Path], labels: Sequence[str] = ()) -> Images:
    """Opens the pictures that a net is to be looked at with, and says which files were skipped.

    Where none are named and the net's own are not here, photographs that come with Python packages
    are taken, which is said. Where no picture is of one of the net's classes by all that is known,
    that is said too.

    Args:
      net: the net.
      images: files and folders; none stands for the net's own validation set.
      labels: the pictures' classes, where they are given.

    Raises:
      ValueError: they cannot be used.
    """
    opened = named_images(images) if images else own_images(net) or _samples(net)
    warn_of_skipped(opened.skipped)
    source = opened.source
    unlabelled = not labels and not source.class_names
    if unlabelled and not any(known_labels(net.class_names, source, range(len(source)))):
        print(
            f"no picture lies in a folder that is called like one of the net's "
            f"{len(net.class_names)} classes: the classes that it sees in them may not fit"
        )
    return opened


def named_images(images: Sequence[Path]) -> Images:
    """Pictures of files and folders; ValueError names what cannot be used."""
    source, skipped = open_pictures(images)
    return Images(source, skipped, ", ".join(map(str, images)))


def own_images(net: Net) -> Images | None:
    """The net's own validation set; None where it is not here, or the net is of another program."""
    if net.config is None:
        return None
    try:
        splits = open_splits(net.config.data, net.config.seed)
    except NoDataSet:
        return None
    return Images(splits.val, splits.skipped, f"{net.config.data.source}, validation")


def _samples(net: Net) -> Images:
    paths = sample_pictures()
    if not paths:
        raise ValueError(f"{net.name}: its own pictures are not here; expected --images")
    own = f" ({net.config.data.source})" if net.config else ""
    print(
        f"the net's own pictures{own} are not here: {len(paths)} photographs that come with Python "
        "packages are taken; --images FILE_OR_FOLDER takes yours"
    )
    source, skipped = open_pictures(paths)
    return Images(source, skipped, "photographs of Python packages")
