"""Linear classifiers on the features of every layer of a net.

Zeiler & Fergus 2014, section 5.3 and Table 7: a linear SVM or a softmax on the first n layers. The
SVM is scikit-learn's, one class against the others (a choice).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC
from tqdm import tqdm

from zfnet_jax.experiments.classify import Fit, score, split
from zfnet_jax.experiments.folds import Fold
from zfnet_jax.experiments.record import Record
from zfnet_jax.experiments.softmax import fit_softmax
from zfnet_jax.experiments.spread import spread


def fit_svm(
    features: np.ndarray, labels: np.ndarray, classes: int, c: float
) -> Callable[[np.ndarray], np.ndarray]:
    """A linear SVM as a `Fit`: its scores are distances from each class's plane.

    It is solved in the dual from the products of all pairs of training rows, which are computed
    once for all classes; LinearSVC would read every row many times for each class. A class that
    has no picture here gets the score -infinity.
    """
    machine = OneVsRestClassifier(SVC(C=c, kernel="precomputed"))
    machine.fit(features @ features.T, labels)

    def scores(tested: np.ndarray) -> np.ndarray:
        distances = machine.decision_function(tested @ features.T)
        if distances.ndim == 1:  # of two classes there is one plane
            distances = np.stack([-distances, distances], axis=1)
        all_classes = np.full((len(tested), classes), -np.inf)
        all_classes[:, machine.classes_] = distances
        return all_classes

    return scores


FITS: dict[str, Fit] = {"svm": fit_svm, "softmax": fit_softmax}


def layer_features(
    features: Mapping[str, Any],
    labels: np.ndarray,
    folds: Sequence[Fold],
    classifiers: Sequence[str],
    record: Record,
    net: str,
    c: float | None = None,
) -> None:
    """Scores the classifiers on every layer and fold that the record lacks.

    Args:
      features: by layer, (N, D), may be memory-mapped.
      labels: (N,) int.
      folds: which pictures train and test.
      classifiers: names in `FITS`.
      record: where each finished part goes.
      net: the name of the net in the record.
      c: inverse strength of the penalty, for rows of unit length; None chooses it inside
        each training part.
    """
    wanted = list(itertools.product(features, range(len(folds))))
    for layer, fold in tqdm(wanted, net, disable=None, leave=False, unit="fold"):
        keys = {
            name: {"net": net, "layer": layer, "classifier": name, "fold": fold}
            for name in classifiers
        }
        missing = [name for name, key in keys.items() if record.find(**key) is None]
        if not missing:
            continue
        parts = split(features[layer], labels, folds[fold])
        for name in missing:
            record.add(keys[name], score(FITS[name], parts, c)._asdict())


class Row(NamedTuple):
    """One line of the table: the folds of a layer and a classifier together.

    Attributes:
      net: which net.
      layer: which layer.
      classifier: which.
      mean: of the accuracies, 0..1.
      std: their sample standard deviation; None of a single fold.
      folds: how many.
    """

    net: str
    layer: str
    classifier: str
    mean: float
    std: float | None
    folds: int


def rows(parts: Sequence[dict[str, Any]], layers: Sequence[str]) -> list[Row]:
    """The finished parts as a table.

    Args:
      parts: of the record.
      layers: those of the net, in the table's order, which need not be that of the parts.
    """
    accuracies: dict[tuple[str, str, str], list[float]] = {}
    for part in sorted(parts, key=lambda part: layers.index(part["layer"])):
        key = part["net"], part["layer"], part["classifier"]
        accuracies.setdefault(key, []).append(part["accuracy"])
    return [Row(*key, *spread(values), len(values)) for key, values in accuracies.items()]
