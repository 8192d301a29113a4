"""PASCAL VOC as distributed: a picture has any of 20 classes, and average precision measures.

Everingham et al. 2012, used by Zeiler & Fergus 2014 in section 5.2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet_jax.core import identity
from zfnet_jax.data.source import Example

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""VOC 2012's, in its order."""

_LISTS, _PICTURES = Path("ImageSets", "Main"), Path("JPEGImages")


@dataclass(frozen=True, eq=False)
class Voc:
    """The pictures of one split.

    Attributes:
      root: the folder VOC2012.
      names: the pictures' paths in it.
      present: (N, K) int8: 1 where the class is in the picture, -1 where it is not, 0 where it is
        only there in objects marked as difficult.
      class_names: the classes.
    """

    root: Path
    names: tuple[str, ...]
    present: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> np.ndarray:
        """The first class that is in each picture, (N,) int32; 0 where there is none."""
        return (self.present == 1).argmax(axis=1).astype(np.int32)

    @property
    def identity(self) -> str:
        """As `Source.identity`; opens every picture."""
        digests = []
        for name in self.names:
            with (self.root / name).open("rb") as file:
                digests.append(identity.of_sample(file))
        return identity.of_json([self.names, digests])

    def __getitem__(self, index: int) -> Example:
        name = self.names[index]
        return Example((self.root / name).read_bytes(), int(self.labels[index]), name)


def open_voc(root: Path, split: str) -> Voc:
    """Opens a split of PASCAL VOC.

    Args:
      root: the folder VOC2012, with JPEGImages and ImageSets/Main.
      split: "train", "val" or "trainval".

    Returns:
      Its pictures, in the order of its lists.

    Raises:
      ValueError: a list or a picture is missing, or a list is not what is distributed.
    """
    columns, names = [], None
    for name in CLASSES:
        path = root / _LISTS / f"{name}_{split}.txt"
        values = _read(path)
        if names is not None and list(values) != names:
            raise ValueError(f"{path}: expected the pictures of {CLASSES[0]}_{split}.txt, in order")
        names = list(values)
        columns.append(list(values.values()))
    assert names is not None
    pictures = tuple((_PICTURES / f"{name}.jpg").as_posix() for name in names)
    missing = [name for name in pictures if not (root / name).is_file()]
    if missing:
        raise ValueError(
            f"{root}: {len(missing)} of {len(pictures)} pictures of {split} are missing, such as "
            f"{missing[0]}; expected all of them"
        )
    return Voc(root, pictures, np.array(columns, np.int8).T, CLASSES)


def _read(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; expected the folder VOC2012 as distributed"
        ) from error
    values: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        match line.split():
            case [name, ("-1" | "0" | "1") as value] if name not in values:
                values[name] = int(value)
            case _:
                raise ValueError(f"{path}, line {number}: {line!r}, expected PICTURE -1, 0 or 1")
    if not values:
        raise ValueError(f"{path}: expected at least one picture")
    return values


def average_precision(scores: np.ndarray, present: np.ndarray) -> float:
    """The area under the precision of a ranking over its recall, by the rule of VOC 2010 and later.

    Precision at a recall is the largest at that recall or a higher one.

    Args:
      scores: (N,) float, higher for pictures that are more likely to show the class; of equal
        scores the earlier ranks higher.
      present: (N,) int: 1, -1, or 0 for pictures that do not count.

    Returns:
      0..1; NaN where no picture shows the class.
    """
    counted = present != 0
    order = np.argsort(-scores[counted], kind="stable")
    right = present[counted][order] == 1
    if not right.any():
        return float("nan")
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_from_here[right].mean())
