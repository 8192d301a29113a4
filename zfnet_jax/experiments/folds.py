"""Which pictures a classifier is trained and tested on: n of each class, and others of the same.

Zeiler & Fergus 2014, section 5.2: 15 or 30 training images a class, up to 50 test images a class,
5 folds. How the folds are drawn is not said (a choice): here each class is shuffled once for each
fold; the first n pictures train and the last ones test. So training sets of one fold are nested
over n, and its test pictures are the same for every n as long as a class has enough of them.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

MOST_TEST = 50
"""The paper's test images a class."""

ShortClasses = Literal["refuse", "leave-out"]


class Fold(NamedTuple):
    """One draw of pictures.

    Attributes:
      classes: (K,) int, the labels that take part, ascending.
      train: (K n,) int, items: the first of each class, then the second of each, and so on.
      test: (T,) int, items, none of which trains.
    """

    classes: np.ndarray
    train: np.ndarray
    test: np.ndarray


class Short(NamedTuple):
    """A class with too few pictures."""

    name: str
    pictures: int


def as_text(short: Sequence[Short]) -> str:
    """Classes with their numbers of pictures, for a message."""
    return ", ".join(f"{each.name} ({each.pictures})" for each in short)


def make_fold(
    labels: np.ndarray,
    class_names: Sequence[str],
    n: int,
    fold: int,
    *,
    seed: int = 0,
    most_test: int = MOST_TEST,
    short_classes: ShortClasses = "refuse",
) -> tuple[Fold, list[Short]]:
    """Draws n training pictures of each class, and test pictures.

    Zeiler & Fergus 2014, section 5.2.

    Args:
      labels: (N,) int.
      class_names: the name of each label.
      n: training pictures a class, 1 or more.
      fold: which draw, from 0.
      seed: of all draws.
      most_test: test pictures a class at most.
      short_classes: what becomes of a class with fewer than n + 1 pictures.

    Returns:
      The fold, and the classes that were left out.

    Raises:
      ValueError: a class is too small and none may be left out, or fewer than two classes remain.
    """
    members = [np.flatnonzero(labels == label) for label in range(len(class_names))]
    fit = np.array([len(each) > n for each in members], bool)
    short = [Short(class_names[k], len(members[k])) for k in np.flatnonzero(~fit).tolist()]
    if short and short_classes == "refuse":
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        raise ValueError(
            f"too few pictures in {as_text(short[:5])}{more}: expected at least {n + 1} in every "
            f"class, {n} to train with and 1 to test with; --short-classes leave-out goes on "
            "without them"
        )
    if fit.sum() < 2:
        raise ValueError(
            f"{fit.sum()} of {len(fit)} classes have more than {n} pictures: expected at least 2"
        )
    orders = [
        items[_shuffle(seed, fold, name, len(items))]
        for name, items, fits in zip(class_names, members, fit, strict=True)
        if fits
    ]
    train = np.stack([order[:n] for order in orders], axis=1).ravel()
    test = np.concatenate([order[max(n, len(order) - most_test) :] for order in orders])
    return Fold(np.flatnonzero(fit), train, test), short


def _shuffle(seed: int, fold: int, name: str, count: int) -> np.ndarray:
    """An order of a class's pictures that does not depend on which other classes there are."""
    lot = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]
    rng = np.random.default_rng([seed, fold, int.from_bytes(lot, "big")])
    return rng.permutation(count)


def per_class_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the part of each class's pictures that is predicted right.

    Args:
      predicted: (N,) int.
      labels: (N,) int; classes without a picture do not count.

    Returns:
      0..1.
    """
    right = predicted == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
