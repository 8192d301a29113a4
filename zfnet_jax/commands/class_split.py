"""Split a data set by classes into halves, and list the pictures of one half."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from zfnet_jax.commands import command_line
from zfnet_jax.core.files import output_folder
from zfnet_jax.data.class_names import class_folder, class_key
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.source import warn_of_skipped


def main(
    source: str,
    out: Path,
    half: Literal[0, 1] = 0,
    val_fraction: float = DataConfig.val_fraction,
    seed: int = 0,
) -> None:
    """Draw one half of a folder's classes, and list its training and validation pictures.

    Example: zfnet-jax class-split --source folder:pictures --out split

    Then `zfnet-jax train --data.source folder:pictures --data.train-list split/train.txt
    --data.val-list split/val.txt --workdir runs/half` trains on it, and `zfnet-jax transfer --ckpt
    runs/half --source folder:pictures --classes unseen` transfers to the other half.

    Args:
      source: folder:PATH, with PATH/CLASS/PICTURE.
      out: the folder to write to.
      half: 0, or 1 for the other classes.
      val_fraction: the part of each class that goes to validation, 0..1 exclusive.
      seed: of the draw of classes, and of that part.
    """
    kind, _, folder = source.partition(":")
    command_line.expect("source", source, kind == "folder" and bool(folder), "folder:PATH")
    command_line.expect("seed", seed, seed >= 0, "0 or more")
    splits = open_folder(folder, val_fraction=val_fraction, seed=seed)
    warn_of_skipped(splits.skipped)
    names = splits.train.class_names
    command_line.expect("source", source, len(names) >= 4, "4 classes or more")
    first = class_key(class_folder(splits.train.names[0], depth=0))
    listed = first in map(class_key, names)
    command_line.expect("source", source, listed, "PATH/CLASS/PICTURE")
    drawn = np.array_split(np.random.default_rng(seed).permutation(len(names)), 2)[half]
    with output_folder(out) as made:
        for name, split in (("train", splits.train), ("val", splits.val)):
            items = np.flatnonzero(np.isin(split.labels, drawn)).tolist()
            text = "".join(f"{split.names[item]}\n" for item in items)
            (made / f"{name}.txt").write_text(text, "utf-8")
        classes = "".join(f"{names[k]}\n" for k in sorted(drawn))
        (made / "classes.txt").write_text(classes, "utf-8")
    print(
        f"wrote train.txt, val.txt and classes.txt to {out}: {len(drawn)} of {len(names)} classes"
    )


run = partial(command_line.run, main)
