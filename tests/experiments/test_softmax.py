import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from zfnet_jax.experiments.classify import (
    C_LIMIT,
    DEFAULT_C,
    choose_c,
    for_unit_rows,
    parts_by_class,
    score,
    split,
    standardise,
)
from zfnet_jax.experiments.folds import make_fold
from zfnet_jax.experiments.softmax import Softmax, fit, fit_softmax, objective

CLASSES, COUNT, FEATURES = 6, 20, 40


def make_features(seed: int = 0, features: int = FEATURES) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes; features of very different sizes, and one that is constant."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(CLASSES), COUNT)
    centres = 0.6 * rng.normal(size=(CLASSES, features))
    found = centres[labels] + rng.normal(size=(len(labels), features))
    found = found * rng.uniform(0.1, 10, features) + rng.normal(size=features)
    found[:, 3] = 0.1
    return found.astype(np.float32), labels


def gradient(softmax: Softmax, features: np.ndarray, labels: np.ndarray, c: float) -> np.ndarray:
    """Of the objective, by hand in float64."""
    kernel, bias, rows = (np.float64(each) for each in (*softmax, features))
    logits = rows @ kernel + bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    excess = odds / odds.sum(axis=1, keepdims=True) - np.eye(kernel.shape[1])[labels]
    of_kernel = rows.T @ excess / len(rows) + kernel / (c * len(rows))
    return np.concatenate([of_kernel.ravel(), excess.mean(axis=0)])


@pytest.mark.parametrize("c", [1e-3, 1e-2, 1.0])
def test_the_optimum(c):
    features, labels = make_features()
    (rows,) = standardise(features)
    found = fit(rows, labels, CLASSES, c, tolerance=1e-6)
    assert np.abs(gradient(found, rows, labels, c)).max() < 2e-6
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(np.float64(rows), labels)
    reference = Softmax(np.float32(theirs.coef_.T), np.float32(theirs.intercept_))
    losses = [float(objective(each, rows, labels, c)) for each in (found, reference)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    np.testing.assert_allclose(
        found.log_probabilities(rows), theirs.predict_log_proba(rows), atol=2e-3
    )


def test_the_default_tolerance_is_as_good():
    features, labels = make_features()
    (rows,) = standardise(features)
    rough = fit(rows, labels, CLASSES, 0.01)
    assert np.abs(gradient(rough, rows, labels, 0.01)).max() < 1.1e-4
    theirs = LogisticRegression(C=0.01, tol=1e-8, max_iter=10_000).fit(rows, labels)
    predicted = rough.log_probabilities(rows).argmax(axis=1)
    assert (predicted == theirs.predict(rows)).mean() > 0.99


def test_features_that_say_nothing():
    features, _ = make_features()  # of their shape, so that nothing is compiled for this test alone
    nothing, labels = np.zeros_like(features), np.arange(len(features)) % CLASSES
    scores = for_unit_rows(fit_softmax, nothing)(nothing, labels, CLASSES, 1.0)(nothing)
    np.testing.assert_allclose(scores, np.log(1 / CLASSES), rtol=1e-5)


def test_standardised_by_the_training_part_alone():
    features, _ = make_features()
    train, test = features[:90], features[90:].copy()
    test[:, 3] = 7  # the constant one
    rows, others = standardise(train, test)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    varies = np.arange(FEATURES) != 3
    np.testing.assert_allclose(rows.std(axis=0)[varies], 1, rtol=1e-4)
    assert (rows[:, 3] == 0).all()
    assert (others[:, 3] == 0).all()
    expected = (test - train.mean(axis=0))[:, varies] / train.std(axis=0)[varies]
    np.testing.assert_allclose(others[:, varies], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(standardise(train, 100 * test)[0], rows)


@pytest.mark.slow
def test_more_features_than_pictures_lose_nothing():
    features, labels = make_features(features=400)
    train, test = standardise(features[:60], features[60:])
    assert (train.shape, test.shape) == ((60, 60), (60, 60))
    mean, deviation = features[:60].mean(axis=0), features[:60].std(axis=0)
    deviation[3] = np.inf
    whole = [(each - mean) / deviation for each in (features[:60], features[60:])]
    np.testing.assert_allclose(train @ train.T, whole[0] @ whole[0].T, rtol=1e-3, atol=1e-2)
    turned = fit(train, labels[:60], CLASSES, 0.01, tolerance=1e-6).log_probabilities(test)
    plain = fit(whole[0], labels[:60], CLASSES, 0.01, tolerance=1e-6).log_probabilities(whole[1])
    np.testing.assert_allclose(turned, plain, atol=2e-3)


def test_a_penalty_means_the_same_for_any_number_of_features():
    features, labels = make_features()
    (rows,) = standardise(features)
    thrice = np.concatenate([rows] * 3, axis=1)
    one, other = (
        for_unit_rows(fit_softmax, each)(each, labels, CLASSES, 0.5)(each)
        for each in (rows, thrice)
    )
    np.testing.assert_allclose(one, other, atol=5e-3)


def test_parts_hold_every_class():
    labels = np.tile(np.arange(4), 7)
    parts = parts_by_class(labels, 3)
    for part in range(3):
        assert set(labels[parts == part]) == set(range(4))
    assert set(parts_by_class(np.array([0, 1, 0, 1]), 3)) == {0, 1}
    assert set(parts_by_class(np.array([0, 1, 1, 1]), 3)) == {0}


def test_c_is_chosen_on_what_is_held_out():
    features, labels = np.arange(12.0)[:, None], np.tile([0, 1], 6)
    parts, seen = parts_by_class(labels), []

    def fit_stub(rows, wanted, classes, c):
        np.testing.assert_array_equal(wanted, labels[rows[:, 0].astype(int)])

        def scores(tested):
            assert not set(tested[:, 0]) & set(rows[:, 0])
            assert len(tested) + len(rows) == 12
            seen.append(c)
            right = np.eye(2)[labels[tested[:, 0].astype(int)]]
            return right if c in (0.1, 10) else 1 - right

        return scores

    grid = (0.01, 0.1, 1.0, 10.0)
    assert choose_c(fit_stub, features, labels, 2, parts, grid) == 0.1
    assert sorted(seen) == sorted(grid * 3)
    assert choose_c(fit_stub, features[:2], labels[:2], 2, np.zeros(2, int), grid) == DEFAULT_C


@pytest.mark.parametrize(("best", "tried"), [(10, 100), (1000, 10000), (1e9, 1e5)])
def test_larger_values_of_c_follow_while_the_largest_is_the_best(best, tried):
    features, labels = np.arange(1000.0)[:, None], np.tile([0, 1], 500)
    parts, seen = parts_by_class(labels), []

    def fit_stub(rows, wanted, classes, c):
        seen.append(c)
        wrong = abs(np.log10(c / best)) / 20

        def scores(tested):
            right = np.eye(2)[labels[tested[:, 0].astype(int)]]
            mistaken = np.arange(len(tested)) < wrong * len(tested)
            return np.where(mistaken[:, None], 1 - right, right)

        return scores

    assert choose_c(fit_stub, features, labels, 2, parts, (1.0, 10.0)) == min(best, C_LIMIT)
    assert max(seen) == tried


@pytest.mark.slow
def test_a_fold_is_scored():
    features, labels = make_features()
    wide = np.random.default_rng(1).permutation(len(labels))
    features, labels = features[wide], labels[wide]
    fold, _ = make_fold(labels, tuple("abcdef"), 10, 0)
    found = score(fit_softmax, split(features, labels, fold))
    assert (found.classes, found.test) == (CLASSES, len(fold.test))
    assert found.accuracy > 0.7
    same = score(fit_softmax, split(features, labels, fold), found.c)
    assert same.accuracy == found.accuracy
    # Neither the test pictures nor their labels reach the training.
    changed = labels.copy()
    changed[fold.test] = np.roll(labels[fold.test], 1)
    assert score(fit_softmax, split(features, changed, fold)).c == found.c
