"""Packs a folder of pictures into a data set that training reads quickly."""

import sys
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from zfnet_jax.commands import command_line
from zfnet_jax.data.prepare import prepare_images


def main(
    folder: tyro.conf.Positional[Path],
    out: Path,
    name: str | None = None,
    size: int = 256,
    encoding: Literal["jpeg", "png"] = "jpeg",
    val_fraction: float = 0.2,
    seed: int = 0,
    train_list: Path | None = None,
    val_list: Path | None = None,
    exclude: Path | None = None,
) -> None:
    """Pack a folder of pictures into a data set that training reads quickly.

    Example: zfnet-jax prepare-images photos --out datasets --size 256

    Args:
      folder: FOLDER/CLASS/PICTURE, or FOLDER/train/CLASS/PICTURE and FOLDER/val/CLASS/PICTURE.
      out: where to write; the data set is OUT/NAME.
      name: what to call the data set; by default from the folder's name.
      size: height and width of the stored squares, in pixels: the short side is resized to it and
        the centre kept.
      encoding: jpeg (quality 95) or png (exact, larger).
      val_fraction: the part of each class that is held out, where the folder has no train and val.
      seed: which pictures those are.
      train_list: a text file of CLASS/PICTURE lines to use instead of a split, with val_list.
      val_list: the same for validation.
      exclude: a text file of names to leave out.
    """
    prepared = prepare_images(
        folder,
        out,
        name=name,
        size=size,
        encoding=encoding,
        val_fraction=val_fraction,
        seed=seed,
        train_list=train_list,
        val_list=val_list,
        exclude=exclude,
    )
    train, val, skipped = prepared.splits.train, prepared.splits.val, prepared.splits.skipped
    for file in skipped:
        print(f"skipped {file.name}: {file.reason}", file=sys.stderr)
    print(
        f"wrote {len(train)} training and {len(val)} validation pictures of "
        f"{len(train.class_names)} classes to {prepared.folder} ({len(skipped)} files skipped); "
        f"to train on them: {prepared.command}"
    )


run = partial(command_line.run, main)
