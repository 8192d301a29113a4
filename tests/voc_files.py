"""A small folder with the layout of PASCAL VOC 2012."""

from pathlib import Path

import numpy as np
from PIL import Image

from zfnet_jax.data.voc import CLASSES

PRESENT = {
    "train": {
        "2008_1": {"cat": 1, "dog": 1},
        "2008_2": {"cat": 0, "person": 1},
        "2008_3": {},
        "2008_4": {"cat": 1},
    },
    "val": {"2009_1": {"dog": 1}, "2009_2": {"cat": 1, "dog": 0}},
}


def write_voc(root: Path) -> Path:
    """The layout as distributed, with a few pictures of noise."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, pictures in PRESENT.items():
        for name in pictures:
            pixels = rng.integers(0, 255, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(root / f"JPEGImages/{name}.jpg")
        for kind in CLASSES:
            # As distributed, two blanks before a 1 or 0 and one before -1.
            lines = [f"{name} {found.get(kind, -1):2d}\n" for name, found in pictures.items()]
            (root / f"ImageSets/Main/{kind}_{split}.txt").write_text("".join(lines))
    return root
