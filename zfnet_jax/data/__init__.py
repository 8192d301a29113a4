"""Data: sources of labelled pictures, their preprocessing, and the pipeline to batches."""

from collections.abc import Sequence
from pathlib import Path

from zfnet_jax.config import DataConfig, TrainConfig
from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.pictures import open_pictures
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.source import Example, Skipped, Source, Splits

__all__ = ["Example", "Skipped", "Source", "Splits", "open_seen", "open_splits"]

SHAPES_TRAIN, SHAPES_VAL = 4000, 1000
"""How many pictures of the embedded set one epoch sees, and how many it is validated on."""


def open_splits(config: DataConfig, seed: int = 0, *, least: int = 2) -> Splits:
    """Opens the data set that a configuration names.

    Args:
      config: its `source` is "shapes", "folder:PATH" or "tfds:NAME[@DIR]".
      seed: of the embedded set, and of the split where the source has none.
      least: how many pictures each class of a folder must have where it is split.

    Returns:
      The training and the validation source, and what was skipped.

    Raises:
      ValueError: there is no such source, or it cannot be used.
    """
    kind, _, place = config.source.partition(":")
    if kind != "folder":
        for name in ("train_list", "val_list", "exclude"):
            if getattr(config, name) is not None:
                raise ValueError(f"data.{name}: expected a folder: source, not {config.source!r}")
    match kind:
        case "shapes":
            return Splits(Shapes("train", SHAPES_TRAIN, seed), Shapes("val", SHAPES_VAL, seed))
        case "folder" if place:
            return open_folder(
                place,
                val_fraction=config.val_fraction,
                seed=seed,
                train_list=config.train_list,
                val_list=config.val_list,
                least=least,
                exclude=config.exclude,
            )
        case "tfds" if place:
            # Imported here, since tensorflow-datasets alone takes seconds to import.
            from zfnet_jax.data.tfds import open_tfds

            return open_tfds(place, val_fraction=config.val_fraction, seed=seed)
        case "imported":
            raise ValueError(
                f"{place}: this net was imported, without the pictures that it learned from; "
                "expected --images, or --source for an evaluation"
            )
    raise ValueError(
        f"data source {config.source!r}: expected shapes, folder:PATH or tfds:NAME[@DIR]"
    )


def open_seen(images: Sequence[Path], config: TrainConfig) -> tuple[Source, Sequence[Skipped]]:
    """Opens the pictures that a net is to be looked at with.

    Args:
      images: files and folders; none stands for the net's own validation set.
      config: the run that made the net.

    Returns:
      The pictures, and the files skipped.

    Raises:
      ValueError: they cannot be used.
    """
    if images:
        return open_pictures(images)
    splits = open_splits(config.data, config.seed)
    return splits.val, splits.skipped
