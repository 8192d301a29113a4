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
class LabelledImages:
    """Pictures chosen from several sources of the same classes, as one source.

    Attributes:
      sources: where they come from.
      members: (N, 2) int, for each picture the number of its source and its number in that source.
      labels: (N,) int32.
      class_names: the name of each label.
    """

    sources: tuple[Source, ...]
    members: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"LabelledImages({len(self)} pictures of {len(self.class_names)} classes)"

    @classmethod
    def of(cls, *sources: Source) -> "LabelledImages":
        """All pictures of some sources."""
        members = [
            (number, item) for number, source in enumerate(sources) for item in range(len(source))
        ]
        labels = np.concatenate([np.asarray(source.labels, np.int32) for source in sources])
        return cls(sources, np.array(members), labels, sources[0].class_names)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        source, item = self.members[index]
        example = self.sources[source][int(item)]
        return example._replace(label=int(self.labels[index]))

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each picture, without opening it."""
        names = [source.names for source in self.sources]
        return tuple(names[source][item] for source, item in self.members.tolist())

    @property
    def identity(self) -> str:
        """As `Source.identity`."""
        sources = [source.identity for source in self.sources]
        return identity.of_json([sources, self.members.tolist()])

    def take(self, items: np.ndarray) -> "LabelledImages":
        """Some of the pictures."""
        return replace(self, members=self.members[items], labels=self.labels[items])

    def only(self, classes: np.ndarray) -> "LabelledImages":
        """The pictures of some classes, (K,) int ascending, which become labels 0 to K - 1."""
        items = np.flatnonzero(np.isin(self.labels, classes))
        labels = np.searchsorted(classes, self.labels[items]).astype(np.int32)
        names = tuple(self.class_names[label] for label in classes)
        return replace(self, members=self.members[items], labels=labels, class_names=names)


def open_labelled_images(
    source: str, net: Net, classes: Classes = "all", exclude: str | None = None
) -> LabelledImages:
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
    # Too few pictures are noticed when the folds are drawn.
    splits = open_splits(DataConfig(source=source, exclude=exclude), minimum=1)
    warn_of_skipped(splits.skipped)
    images = LabelledImages.of(splits.train, splits.val)
    if classes == "unseen":
        unseen = [k for k, name in enumerate(images.class_names) if name not in net.class_names]
        if len(unseen) < 2:
            raise ValueError(
                f"{source}: {len(unseen)} of {len(images.class_names)} classes are not the net's "
                "own; expected at least 2 for --classes unseen"
            )
        images = images.only(np.array(unseen))
    return images


def warn_of_shared_classes(images: LabelledImages, net: Net) -> list[str]:
    """Says on stderr which classes of the pictures are the net's own by name; returns these."""
    shared = [name for name in images.class_names if name in net.class_names]
    if shared:
        print(
            f"warning: {len(shared)} of {len(images.class_names)} classes are the net's own by "
            f"name, such as {shared[0]}; what it has seen of them is no transfer",
            file=sys.stderr,
        )
    return shared
