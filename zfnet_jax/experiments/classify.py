"""A linear classifier on fixed features, fitted to one part of the pictures and tested on another.

Zeiler & Fergus 2014, sections 5.2 and 5.3, do not say how they regularised (choices): features are
standardised by the training part alone, and the strength of the L2 penalty is found by
cross-validation inside the training part.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from zfnet_jax.experiments.folds import Fold, per_class_accuracy

GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
"""The values of C that are tried first, for rows of unit length; see `for_unit_rows`."""

C_LIMIT = 1e5
"""The largest C that is tried: while the largest is the best, one ten times as large follows."""

DEFAULT_C = 1.0
"""C where there is one picture a class, and so none to validate with."""

PARTS = 3
"""Parts of a cross-validation."""

Fit = Callable[[np.ndarray, np.ndarray, int, float], Callable[[np.ndarray], np.ndarray]]
"""(features, labels, classes, C) -> a function of features that gives scores, (N, classes)."""


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Features less their mean over the training part, divided by their standard deviation there.

    A feature that does not vary in training becomes 0 everywhere. Where there are more features
    than training pictures all are then expressed in an orthonormal basis of the training rows:
    the weights of a linear classifier with an L2 penalty lie in their span, so this changes
    nothing but the size.

    Args:
      train: (N, D).
      *others: (M, D), other parts.

    Returns:
      The parts, in this order, (., min(N, D)) float32.
    """
    rows = np.asarray(train, np.float32)
    mean, standard_deviation = (
        rows.mean(axis=0, dtype=np.float64),
        rows.std(axis=0, dtype=np.float64),
    )
    # The rounding errors of a constant are no variation.
    varies = standard_deviation > 1e-6 * np.abs(mean)
    scale = np.where(varies, 1 / np.where(varies, standard_deviation, 1), 0).astype(np.float32)
    parts = [
        (np.asarray(part, np.float32) - mean.astype(np.float32)) * scale for part in (rows, *others)
    ]
    if rows.shape[0] < rows.shape[1]:
        basis = np.linalg.qr(parts[0].T)[0]
        parts = [part @ basis for part in parts]
    return parts


def for_unit_rows(fit: Fit, train: np.ndarray) -> Fit:
    """A classifier whose C means the same whatever the number of features.

    It is scikit-learn's C for features scaled to rows of unit length in the mean: C over the mean
    squared length of the training rows, which for standardised features is their number.
    """
    size = float(np.square(train).sum(dtype=np.float64) / len(train)) or 1.0

    def fitted(
        features: np.ndarray, labels: np.ndarray, classes: int, c: float
    ) -> Callable[[np.ndarray], np.ndarray]:
        return fit(features, labels, classes, c / size)

    return fitted


def parts_by_class(labels: np.ndarray, limit: int = PARTS) -> np.ndarray:
    """Which part of a cross-validation each picture belongs to, every class over all parts.

    Args:
      labels: (N,) int, the pictures of each class in random order.
      limit: parts at most; never more than the smallest class has pictures.

    Returns:
      (N,) int, from 0.
    """
    parts = np.zeros(len(labels), int)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    count = min(limit, *map(len, members))
    for items in members:
        parts[items] = np.arange(len(items)) % count
    return parts


def choose_c(
    fit: Fit,
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    parts: np.ndarray,
    grid: Sequence[float] = GRID,
) -> float:
    """The C of the best mean accuracy over the parts of a cross-validation.

    Args:
      fit: the classifier.
      features: (N, D), the training part alone.
      labels: (N,) int.
      classes: K.
      parts: (N,) int, from `parts_by_class`.
      grid: the values to try, ascending; larger ones follow while the largest is the best.

    Returns:
      Of equally good values the smallest; `DEFAULT_C` where there is one part.
    """
    count = int(parts.max()) + 1
    if count == 1:
        return DEFAULT_C

    def accuracy(c: float) -> float:
        scores = []
        for part in range(count):
            held_out = parts == part
            score = fit(features[~held_out], labels[~held_out], classes, c)
            predicted = score(features[held_out]).argmax(axis=1)
            scores.append(per_class_accuracy(predicted, labels[held_out]))
        return float(np.mean(scores))

    accuracies = {c: accuracy(c) for c in grid}
    best = max(accuracies, key=lambda c: accuracies[c])
    while best == max(accuracies) and 10 * best <= C_LIMIT:
        accuracies[10 * best] = accuracy(10 * best)
        best = max(accuracies, key=lambda c: accuracies[c])
    return best


class Scored(NamedTuple):
    """How good a classifier is on one fold.

    Attributes:
      accuracy: the mean of per-class accuracies on the test pictures, 0..1.
      c: inverse strength of the penalty, for rows of unit length.
      classes: how many.
      test: how many test pictures.
      seconds: for the choice of C, the fit and the test.
    """

    accuracy: float
    c: float
    classes: int
    test: int
    seconds: float


class Parts(NamedTuple):
    """A fold's features, standardised, and labels.

    Attributes:
      train: (N, D) float32.
      wanted: (N,) int, from 0 to K - 1.
      test: (M, D) float32.
      truth: (M,) int.
      classes: K.
    """

    train: np.ndarray
    wanted: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    classes: int


def split(features: Any, labels: np.ndarray, fold: Fold) -> Parts:
    """The training and the test part of a fold.

    Args:
      features: (N, D) of all pictures, may be memory-mapped.
      labels: (N,) int.
      fold: which pictures.

    Returns:
      The parts, standardised by the training part alone.
    """
    train, test = standardise(features[fold.train], features[fold.test])
    wanted, truth = (
        np.searchsorted(fold.classes, labels[items]) for items in (fold.train, fold.test)
    )
    return Parts(train, wanted, test, truth, len(fold.classes))


def score(fit: Fit, parts: Parts, c: float | None = None) -> Scored:
    """Trains a classifier on one part and tests it on the other.

    Args:
      fit: the classifier.
      parts: of a fold.
      c: inverse strength of the penalty for rows of unit length; None chooses it inside the
        training part.

    Returns:
      How good it is.
    """
    began = time.perf_counter()
    train, wanted, test, truth, classes = parts
    fit = for_unit_rows(fit, train)
    if c is None:
        c = choose_c(fit, train, wanted, classes, parts_by_class(wanted))
    predicted = fit(train, wanted, classes, c)(test).argmax(axis=1)
    seconds = round(time.perf_counter() - began, 2)
    return Scored(per_class_accuracy(predicted, truth), c, classes, len(test), seconds)
