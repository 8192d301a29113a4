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

TEST_LIMIT = 50
"""The paper's test images a class, at most."""

ShortClasses = Literal["refuse", "leave-out"]


class Fold(NamedTuple):
    """The pictures of one draw.

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
    return ", ".join(f"{name} ({pictures})" for name, pictures in short)


def make_fold(
    labels: np.ndarray,
    class_names: Sequence[str],
    n: int,
    fold: int,
    *,
    seed: int = 0,
    test_limit: int = TEST_LIMIT,
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
      test_limit: test pictures a class at most.
      short_classes: "refuse" raises where a class has fewer than n + 1 pictures, "leave-out"
        leaves that class out.

    Returns:
      The fold, and the classes that were left out.

    Raises:
      ValueError: a class is too small and none may be left out, or fewer than two classes remain.
    """
    members = [np.flatnonzero(labels == label) for label in range(len(class_names))]
    large = np.array([len(items) > n for items in members], bool)
    short = [Short(class_names[k], len(members[k])) for k in np.flatnonzero(~large).tolist()]
    if short and short_classes == "refuse":
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        raise ValueError(
            f"too few pictures in {as_text(short[:5])}{more}: expected at least {n + 1} in every "
            f"class, {n} to train with and 1 to test with; {_remedy(n, members, large)}"
        )
    if large.sum() < 2:
        raise ValueError(
            f"{large.sum()} of {len(large)} classes have more than {n} pictures: expected at "
            f"least 2; {_remedy(n, members, large)}"
        )
    orders = [
        items[_shuffle(seed, fold, name, len(items))]
        for name, items, fits in zip(class_names, members, large, strict=True)
        if fits
    ]
    train = np.stack([order[:n] for order in orders], axis=1).ravel()
    test = np.concatenate([order[max(n, len(order) - test_limit) :] for order in orders])
    return Fold(np.flatnonzero(large), train, test), short


def _remedy(n: int, members: Sequence[np.ndarray], large: np.ndarray) -> str:
    """What to ask for so that pictures can be drawn."""
    smallest, leave_out = min(map(len, members)), "--short-classes leave-out goes on without them"
    fewer = f"ask for {smallest - 1} a class or fewer"
    if large.sum() < 2:  # there is nothing to go on with
        return fewer if smallest > 1 else "add pictures"
    return f"{fewer}, or {leave_out}" if smallest > 1 else leave_out


def _shuffle(seed: int, fold: int, name: str, count: int) -> np.ndarray:
    """An order of a class's pictures that does not depend on which other classes there are."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]
    rng = np.random.default_rng([seed, fold, int.from_bytes(digest, "big")])
    return rng.permutation(count)


def per_class_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the share of each class's pictures whose class is predicted.

    Args:
      predicted: (N,) int.
      labels: (N,) int; classes without a picture do not count.

    Returns:
      0..1.
    """
    right = predicted == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
