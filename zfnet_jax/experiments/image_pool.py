"""The pictures that an experiment draws from: those of all splits of a source, as one."""

import sys
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from zfnet_jax.core import identity
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.source import Example, Source, warn_of_skipped
from zfnet_jax.data.splits import open_splits
from zfnet_jax.networks.net import Net

Classes = Literal["all", "unseen"]
"""Which classes of a source take part: "unseen" leaves out those that the net was trained on."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures chosen from several sources of the same classes, as one source.

    Attributes:
      sources: where they come from.
      places: (N, 2) int, which source and which of its items.
      labels: (N,) int32.
      class_names: the name of each label.
    """

    sources: tuple[Source, ...]
    places: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, *sources: Source) -> "Pool":
        """All pictures of some sources."""
        places = [(at, item) for at, each in enumerate(sources) for item in range(len(each))]
        labels = np.concatenate([np.asarray(each.labels, np.int32) for each in sources])
        return cls(sources, np.array(places), labels, sources[0].class_names)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        source, item = self.places[index]
        example = self.sources[source][int(item)]
        return example._replace(label=int(self.labels[index]))

    @property
    def names(self) -> tuple[str, ...]:
        """What each picture is called, without opening it."""
        names = [source.names for source in self.sources]
        return tuple(names[source][item] for source, item in self.places.tolist())

    @property
    def identity(self) -> str:
        """As `Source.identity`."""
        sources = [source.identity for source in self.sources]
        return identity.of_json([sources, self.places.tolist()])

    def take(self, items: np.ndarray) -> "Pool":
        """Some of the pictures."""
        return replace(self, places=self.places[items], labels=self.labels[items])

    def only(self, classes: np.ndarray) -> "Pool":
        """The pictures of some classes, (K,) int ascending, which become labels 0 to K - 1."""
        items = np.flatnonzero(np.isin(self.labels, classes))
        labels = np.searchsorted(classes, self.labels[items]).astype(np.int32)
        names = tuple(self.class_names[label] for label in classes)
        return replace(self, places=self.places[items], labels=labels, class_names=names)


def open_pool(source: str, net: Net, classes: Classes = "all", exclude: str | None = None) -> Pool:
    """Opens a data set to transfer a net to.

    Args:
      source: as for `DataConfig`; all its splits count together.
      net: the net.
      classes: whether the classes with the names of the net's own take part.
      exclude: a file that lists pictures to leave out, as for `DataConfig`.

    Returns:
      The pictures.

    Raises:
      ValueError: the source cannot be used, or fewer than two classes remain.
    """
    # The folds say what is too few.
    splits = open_splits(DataConfig(source=source, exclude=exclude), minimum=1)
    warn_of_skipped(splits.skipped)
    pool = Pool.of(splits.train, splits.val)
    if classes == "unseen":
        unseen = [k for k, name in enumerate(pool.class_names) if name not in net.class_names]
        if len(unseen) < 2:
            raise ValueError(
                f"{source}: {len(unseen)} of {len(pool.class_names)} classes are not the net's "
                "own; expected at least 2 for --classes unseen"
            )
        pool = pool.only(np.array(unseen))
    return pool


def say_shared(pool: Pool, net: Net) -> list[str]:
    """Says on stderr which of a pool's classes the net may have been trained on; returns them."""
    shared = [name for name in pool.class_names if name in net.class_names]
    if shared:
        print(
            f"warning: {len(shared)} of {len(pool.class_names)} classes are the net's own by name, "
            f"such as {shared[0]}; what it has seen of them is no transfer",
            file=sys.stderr,
        )
    return shared
