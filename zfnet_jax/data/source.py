"""What a data set is to the rest of the package: a length, and item i."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from zfnet_jax.core.summary import summary
from zfnet_jax.core.text import printable


class Example(NamedTuple):
    """One labelled picture as its source stores it.

    Attributes:
      image: an encoded file (bytes, any format that Pillow reads) or a raw (H, W, 3) uint8 array.
      label: 0..len(class_names) - 1.
      name: what a person would call it: a path relative to the source, or "train/17".
    """

    image: bytes | np.ndarray
    label: int
    name: str

    def __repr__(self) -> str:
        return summary(self)


class Source(Protocol):
    """A random-access collection of labelled pictures; item i never changes and is thread-safe."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label, in label order."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """The label of every item, (N,) int32; may read the whole source once."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """A name for every item, unique in its data set, without opening any.

        Two sources of one data set share a picture where they share its name.
        """
        ...

    @property
    def identity(self) -> str:
        """A digest of the items' names, and of a sample of what is stored for them.

        It differs where pictures were changed under the same names.
        """
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class NoDataSet(ValueError):
    """There is no data set where a configuration says that there is one."""


class Skipped(NamedTuple):
    """A file that looked like a picture and could not be used.

    Attributes:
      name: of the file, printable.
      reason: why, in one line.
    """

    name: str
    reason: str


def warn_of_skipped(skipped: Sequence[Skipped], where: str = "") -> None:
    """Says on stderr how many files were skipped, and the first; `where` tells where all are."""
    if skipped:
        name, reason = skipped[0]
        print(
            f"warning: skipped {len(skipped)} files{printable(where)}, such as {name}: {reason}",
            file=sys.stderr,
        )


@cache
def say_once(message: str) -> None:
    """Says on stderr how a data set was read, once in a process however often it is opened."""
    print(f"note: {printable(message)}", file=sys.stderr)


@contextlib.contextmanager
def expect_all_there(source: Source) -> Iterator[None]:
    """Counts the pictures that are gone, once one is that was there when its source was opened.

    Raises:
      ValueError: says how many, and names the first.
    """
    try:
        yield
    except FileNotFoundError as error:
        gone = []
        for item in range(len(source)):
            try:
                source[item]
            except FileNotFoundError as missing:
                gone.append(missing.filename)
        if not gone:  # it was no picture
            raise
        raise ValueError(
            f"{len(gone)} of {len(source)} pictures are gone since the data set was opened, such "
            f"as {gone[0]}; expected all of them"
        ) from error


def same_data_set(one: str, other: str) -> bool:
    """Whether two values of `DataConfig.source` name one data set, folders by any path."""
    (kind, _, path), (other_kind, _, other_path) = one.partition(":"), other.partition(":")
    if kind == other_kind == "folder":
        return Path(path).expanduser().resolve() == Path(other_path).expanduser().resolve()
    return one == other


@dataclass(frozen=True)
class Splits:
    """A training and a validation source over the same classes, and what was left out of them."""

    train: Source
    val: Source
    skipped: Sequence[Skipped] = ()
