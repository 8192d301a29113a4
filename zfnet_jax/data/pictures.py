"""Pictures that a user names: files, and folders of files, as a source without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet_jax.core import identity
from zfnet_jax.data.decode import decode
from zfnet_jax.data.folder_files import files_below
from zfnet_jax.data.scan import digest_of, is_picture_name, scan
from zfnet_jax.data.source import Example, Skipped


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files in the order they were named, all readable when they were opened.

    Attributes:
      paths: the files.
      digests: a digest of the bytes of each, as they were then.
      class_names: none; the label of every picture is 0.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    class_names: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Zeros, (N,) int32."""
        return np.zeros(len(self.paths), np.int32)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths."""
        return tuple(map(str, self.paths))

    @property
    def identity(self) -> str:
        """As `Source.identity`."""
        return identity.of_json([self.names, self.digests])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return Example(self.paths[index].read_bytes(), 0, str(self.paths[index]))


def open_pictures(paths: Sequence[Path]) -> tuple[Pictures, list[Skipped]]:
    """Opens pictures by their names.

    Args:
      paths: files, each of which must be a readable picture, and folders, in which what is not
        one is skipped. The pictures of a folder are all below it, also through links, sorted by
        name.

    Returns:
      The pictures, and the files skipped.

    Raises:
      ValueError: a file is no picture, a path does not exist, or there are no pictures.
    """
    opened: list[tuple[Path, str]] = []
    skipped: list[Skipped] = []
    for path in paths:
        if path.is_dir():
            scanned = scan(path, filter(is_picture_name, files_below(path)))
            opened += [(path / name, digest) for name, digest in scanned.digests.items()]
            skipped += scanned.skipped
        elif path.is_file():
            encoded = path.read_bytes()
            try:
                decode(encoded, 8)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            opened.append((path, digest_of(encoded)))
        else:
            raise ValueError(f"{path}: expected a picture or a folder, there is none")
    if not opened:
        raise ValueError(f"{', '.join(map(str, paths))}: expected at least one readable picture")
    files, digests = zip(*opened, strict=True)
    return Pictures(files, digests), skipped
