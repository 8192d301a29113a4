from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.data.shapes import Shapes
from zfnet_jax.experiments.folds import Short, make_fold, per_class_accuracy
from zfnet_jax.experiments.labelled_images import LabelledImages

NAMES = ("ant", "bee", "cat", "dog")


def labels_of(counts: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@given(
    counts=st.lists(st.integers(5, 12), min_size=4, max_size=4),
    n=st.integers(1, 4),
    fold=st.integers(0, 3),
    test_limit=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_a_fold(counts, n, fold, test_limit, seed):
    labels = labels_of(counts, seed)
    drawn, short = make_fold(labels, NAMES, n, fold, seed=seed, test_limit=test_limit)
    assert short == []
    assert not set(drawn.train) & set(drawn.test)
    assert len(set(drawn.train)) == len(drawn.train)
    assert len(set(drawn.test)) == len(drawn.test)
    np.testing.assert_array_equal(drawn.classes, range(4))
    # The first of each class, then the second of each, ...
    np.testing.assert_array_equal(labels[drawn.train].reshape(n, 4), [range(4)] * n)
    tested = np.bincount(labels[drawn.test], minlength=4)
    np.testing.assert_array_equal(tested, np.minimum(np.array(counts) - n, test_limit))


def test_training_sets_are_nested_and_tests_the_same():
    labels = labels_of([20, 30, 25, 22])
    drawn = [make_fold(labels, NAMES, n, 1, test_limit=10)[0] for n in (1, 4, 10)]
    for less, more in pairwise(drawn):
        np.testing.assert_array_equal(less.train, more.train[: len(less.train)])
        np.testing.assert_array_equal(less.test, more.test)


def test_folds_and_seeds_differ_and_repeat():
    labels = labels_of([20, 30, 25, 22])
    drawn = [
        tuple(make_fold(labels, NAMES, 5, fold, seed=seed)[0].train)
        for fold in (0, 1)
        for seed in (0, 1)
    ]
    assert len(set(drawn)) == 4
    assert tuple(make_fold(labels, NAMES, 5, 0)[0].train) == drawn[0]


def test_a_class_is_drawn_alike_whatever_others_there_are():
    labels = labels_of([9, 9, 9, 9])
    everything = make_fold(labels, NAMES, 3, 0)[0]
    kept = np.flatnonzero(labels != 1)
    fewer = make_fold(np.array([0, -1, 1, 2])[labels[kept]], ("ant", "cat", "dog"), 3, 0)[0]
    expected = everything.train[labels[everything.train] != 1]
    np.testing.assert_array_equal(kept[fewer.train], expected)


def test_classes_with_too_few_pictures():
    labels = labels_of([6, 5, 3, 9])
    with pytest.raises(
        ValueError,
        match=r"bee \(5\), cat \(3\): .* ask for 2 a class or fewer, or --short-classes leave-out",
    ):
        make_fold(labels, NAMES, 5, 0)
    drawn, short = make_fold(labels, NAMES, 5, 0, short_classes="leave-out")
    assert short == [Short("bee", 5), Short("cat", 3)]
    np.testing.assert_array_equal(drawn.classes, [0, 3])
    assert set(labels[drawn.train]) == set(labels[drawn.test]) == {0, 3}
    with pytest.raises(
        ValueError, match=r"1 of 4 classes have more than 8 pictures: .* ask for 2 a"
    ):
        make_fold(labels, NAMES, 8, 0, short_classes="leave-out")


def test_the_mean_of_per_class_accuracies():
    assert per_class_accuracy(np.array([0, 0, 4, 2]), np.array([0, 0, 0, 2])) == (2 / 3 + 1) / 2


def test_the_images_of_all_splits():
    train, val = Shapes("train", 12, seed=3), Shapes("val", 8, seed=3)
    images = LabelledImages.of(train, val)
    assert len(images) == 20
    assert (images.names[0], images.names[12]) == ("train/0", "val/0")
    np.testing.assert_array_equal(images.labels, np.concatenate([train.labels, val.labels]))
    np.testing.assert_array_equal(np.asarray(images[13].image), np.asarray(val[1].image))
    classes = np.unique(images.labels)[[0, 2, 3]]
    some = images.only(classes)
    assert some.class_names == tuple(train.class_names[label] for label in classes)
    for place, item in enumerate(np.flatnonzero(np.isin(images.labels, classes))):
        assert some[place].label == some.labels[place]
        assert classes[some[place].label] == images[item].label
        assert some.names[place] == images.names[item]
    assert images.take(np.array([13, 2])).names == (images.names[13], images.names[2])
