"""The softmax on fixed features against scikit-learn's logistic regression.

    python benchmarks/softmax.py [--classes 101 --count 30 --features 4096]

Both minimise the same objective from zero with the same C and the same tolerance, on features that
are standardised alike. They are made up: the ReLU of random combinations of 128 hidden numbers, of
which the first ones vary most, as few directions dominate what a net's upper layers say; with
`--ckpt` and `--source` they are a net's on real pictures, as in tools/transfer.py.

Prints the machine, each side's accuracy on other pictures and objective, a table (milliseconds a
fit, pictures a second), then how long the whole of a fold takes us with its choice of C, and last
the ratio of medians: above 1, this package is faster.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.linear_model import LogisticRegression
from timing import describe_machine, interleave, print_ratio, print_table

from zfnet_jax.commands import command_line
from zfnet_jax.experiments import features as kept
from zfnet_jax.experiments.classify import choose_c, for_unit_rows, parts_by_class, standardise
from zfnet_jax.experiments.folds import Fold, make_fold, per_class_accuracy
from zfnet_jax.experiments.labelled_images import open_labelled_images
from zfnet_jax.experiments.softmax import TOLERANCE, Softmax, fit, fit_softmax, objective
from zfnet_jax.training import checkpoint

OURS, THEIRS = "zfnet_jax", "scikit-learn"
HIDDEN, TESTED = 128, 20


def main(
    classes: int = 101,
    count: int = 30,
    features: int = 4096,
    c: float = 1e-3,
    ckpt: Path | None = None,
    source: str | None = None,
    rounds: int = 5,
) -> None:
    """Time one fit of each, in turns.

    Example: python benchmarks/softmax.py

    Args:
      classes: how many, made up.
      count: training pictures a class.
      features: values a picture, made up.
      c: scikit-learn's inverse strength of the penalty.
      ckpt: a net whose features to take instead.
      source: the pictures for it, folder:PATH.
      rounds: how often each is timed.
    """
    command_line.expect("rounds", rounds, rounds >= 1, "1 or more")
    command_line.expect("c", c, c > 0, "a number above 0")
    if (ckpt is None) != (source is None):
        raise ValueError("expected both --ckpt and --source, or neither")
    print(describe_machine(["jax", "numpy", "scipy", "scikit-learn"]))
    if ckpt is not None and source is not None:
        found, labels, fold = _real(ckpt, source, count)
    else:
        found, labels, fold = _made_up(classes, count, features)
    (train, test), known = standardise(found[fold.train], found[fold.test]), labels[fold.train]
    total = len(fold.classes)
    print(f"{total} classes, {len(train)} training pictures, {found.shape[1]} features, C {c:g}")
    theirs = LogisticRegression(C=c, tol=TOLERANCE, max_iter=1000)
    for name, made in (
        (OURS, fit(train, known, total, c)),
        (THEIRS, _as_softmax(theirs.fit(train, known))),
    ):
        accuracy = per_class_accuracy(
            made.log_probabilities(test).argmax(axis=1), labels[fold.test]
        )
        loss = float(objective(made, train, known, c))
        print(f"{name}: accuracy {accuracy:.2%}, objective {loss:.6f}")
    calls = {
        OURS: lambda: fit(train, known, total, c),
        THEIRS: lambda: theirs.fit(train, known),
    }
    seconds = interleave(calls, rounds)
    print_table(seconds, len(train))
    began = time.perf_counter()
    chosen = choose_c(for_unit_rows(fit_softmax, train), train, known, total, parts_by_class(known))
    print(
        f"{OURS}, choice of C by cross-validation ({chosen:g}): {time.perf_counter() - began:.1f} s"
    )
    print_ratio(seconds, OURS)


def _as_softmax(fitted: LogisticRegression) -> Softmax:
    return Softmax(fitted.coef_.T, fitted.intercept_)


def _made_up(classes: int, count: int, features: int) -> tuple[np.ndarray, np.ndarray, Fold]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), count + TESTED)
    size = 1 / np.sqrt(1 + np.arange(HIDDEN))
    centres = rng.normal(size=(classes, HIDDEN)) * size
    hidden = centres[labels] + 1.2 * size * rng.normal(size=(len(labels), HIDDEN))
    mixed = hidden @ rng.normal(size=(HIDDEN, features))
    noise = rng.normal(size=mixed.shape, scale=mixed.std())
    found = np.maximum(mixed + noise - 0.5, 0).astype(np.float32)
    return found, labels, make_fold(labels, tuple(map(str, range(classes))), count, 0)[0]


def _real(ckpt: Path, source: str, count: int) -> tuple[np.ndarray, np.ndarray, Fold]:
    net = checkpoint.load(ckpt)
    pool = open_labelled_images(source, net)
    layer = net.architecture.layers[-2].name
    with TemporaryDirectory() as cache:
        wanted = [kept.reading(net.architecture, layer)]
        found = np.array(kept.compute(net, pool, wanted, Path(cache))[layer])
    return found, pool.labels, make_fold(pool.labels, pool.class_names, count, 0)[0]


if __name__ == "__main__":
    command_line.run(main)
