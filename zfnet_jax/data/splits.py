"""A data set, opened by the name that a configuration has for it."""

from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.source import Splits

SHAPES_TRAIN, SHAPES_VAL = 4000, 1000
"""How many pictures of the embedded set one epoch sees, and how many it is validated on."""


def open_splits(config: DataConfig, seed: int = 0, *, minimum: int = 2) -> Splits:
    """Opens the data set that a configuration names.

    Args:
      config: its `source` is "shapes", "folder:PATH" or "tfds:NAME[@DIR]".
      seed: of the embedded set, and of the split where the source has none.
      minimum: how many pictures each class of a folder must have where it is split.

    Returns:
      The training and the validation source, and what was skipped.

    Raises:
      ValueError: there is no such source, or it cannot be used.
    """
    kind, _, where = config.source.partition(":")
    if kind != "folder":
        lists = {
            "train_list": config.train_list,
            "val_list": config.val_list,
            "exclude": config.exclude,
        }
        for name, path in lists.items():
            if path is not None:
                raise ValueError(f"data.{name}: expected a folder: source, not {config.source!r}")
    match kind:
        case "shapes":
            return Splits(Shapes("train", SHAPES_TRAIN, seed), Shapes("val", SHAPES_VAL, seed))
        case "folder" if where:
            return open_folder(
                where,
                val_fraction=config.val_fraction,
                seed=seed,
                train_list=config.train_list,
                val_list=config.val_list,
                minimum=minimum,
                exclude=config.exclude,
            )
        case "tfds" if where:
            # Imported here, since tensorflow-datasets alone takes seconds to import.
            from zfnet_jax.data.tfds import open_tfds

            return open_tfds(where, val_fraction=config.val_fraction, seed=seed)
    raise ValueError(
        f"data source {config.source!r}: expected shapes, folder:PATH or tfds:NAME[@DIR]"
    )
