"""Pictures that a user names: files, and folders of files, as a source without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet_jax.data.decode import decode
from zfnet_jax.data.folder import files_below
from zfnet_jax.data.scan import is_picture_name, scan
from zfnet_jax.data.source import Example, Skipped


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files in the order they were named, all readable when they were opened.

    Attributes:
      paths: the files.
      class_names: none; the label of every picture is 0.
    """

    paths: tuple[Path, ...]
    class_names: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Zeros, (N,) int32."""
        return np.zeros(len(self.paths), np.int32)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return Example(self.paths[index].read_bytes(), 0, str(self.paths[index]))


def open_pictures(places: Sequence[Path]) -> tuple[Pictures, list[Skipped]]:
    """Opens pictures by their names.

    Args:
      places: files, each of which must be a readable picture, and folders, in which what is not
        one is skipped. The pictures of a folder are all below it, also through links, sorted by
        name.

    Returns:
      The pictures, and the files skipped.

    Raises:
      ValueError: a file is no picture, a place does not exist, or there are no pictures.
    """
    paths: list[Path] = []
    skipped: list[Skipped] = []
    for place in places:
        if place.is_dir():
            good, bad = scan(place, filter(is_picture_name, files_below(place)))
            paths += [place / name for name in good]
            skipped += bad
        elif place.is_file():
            try:
                decode(place.read_bytes(), 8)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            paths.append(place)
        else:
            raise ValueError(f"{place}: expected a picture or a folder, there is none")
    if not paths:
        raise ValueError(f"{', '.join(map(str, places))}: expected at least one readable picture")
    return Pictures(tuple(paths)), skipped
