import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.svm import SVC

from zfnet_jax.experiments import layer_features
from zfnet_jax.experiments.classify import Scored
from zfnet_jax.experiments.folds import make_fold
from zfnet_jax.experiments.layer_features import Row, fit_svm, rows
from zfnet_jax.experiments.record import Record
from zfnet_jax.experiments.transfer_tables import layers_picture


def make_features(classes: int, count: int = 15) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(classes), count)
    centres = rng.normal(size=(classes, 30))
    return (centres[labels] + rng.normal(size=(len(labels), 30))).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 5])
def test_one_class_against_the_others(classes):
    features, labels = make_features(classes)
    train, test = slice(0, 9 * classes), slice(9 * classes, None)
    scores = fit_svm(features[train], labels[train], classes, 0.1)(features[test])
    assert scores.shape == (6 * classes, classes)
    for label in range(classes):
        plain = SVC(C=0.1, kernel="linear").fit(features[train], labels[train] == label)
        expected = plain.decision_function(features[test])
        np.testing.assert_allclose(scores[:, label], expected, atol=5e-3)


def test_a_class_without_pictures_is_never_the_answer():
    features, labels = make_features(4)
    kept = labels != 2
    scores = fit_svm(features[kept], labels[kept], 4, 0.1)(features)
    assert (scores[:, 2] == -np.inf).all()
    assert (scores.argmax(axis=1)[kept] == labels[kept]).mean() > 0.9


def test_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    features, labels = make_features(3)
    folds = [make_fold(labels, tuple("abc"), 5, fold)[0] for fold in range(2)]
    calls = []

    def score(fit, parts, c):
        calls.append(fit)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return Scored(len(calls) / 10, 1.0, parts.classes, len(parts.test), 0.0)

    monkeypatch.setattr(layer_features, "score", score)
    given = {"conv1": features, "fc2": features[:, :4]}, labels, folds, ("svm", "softmax")
    identity = {"net": "x"}
    with pytest.raises(KeyboardInterrupt):
        layer_features.layer_features(
            *given, Record(tmp_path, "layer_features", identity), "trained"
        )
    record = Record(tmp_path, "layer_features", identity)
    assert [part["accuracy"] for part in record.parts] == [0.1, 0.2, 0.3]
    layer_features.layer_features(*given, record, "trained")
    assert len(calls) == 4 + 5
    table = rows(Record(tmp_path, "layer_features", identity).parts, ["conv1", "fc2"])
    assert [(row.layer, row.classifier) for row in table] == [
        ("conv1", "svm"),
        ("conv1", "softmax"),
        ("fc2", "svm"),
        ("fc2", "softmax"),
    ]
    assert table[0].mean == pytest.approx(0.2)  # 0.1 and 0.3
    assert table[0].std == pytest.approx(0.1 * 2**0.5)
    assert {row.folds for row in table} == {2}
    # In the order of the layers, in whichever the parts were done.
    other = [row.layer for row in rows(record.parts, ["fc2", "conv1"])]
    assert other == ["fc2", "fc2", "conv1", "conv1"]


@pytest.fixture
def lines(monkeypatch) -> list[Line2D]:
    """The lines of each figure that is drawn, in place of its file."""
    drawn: list[Line2D] = []
    save = lambda figure, *_, **__: drawn.extend(figure.axes[0].lines)
    monkeypatch.setattr(Figure, "savefig", save)
    return drawn


def test_lines_of_equal_values_do_not_hide_each_other(lines, tmp_path):
    table = [
        Row("trained", layer, classifier, 0.5, None, 1)
        for classifier in ("svm", "softmax")
        for layer in ("conv1", "fc7")
    ]
    numbers = {"conv1": 1, "fc7": 7}
    layers_picture(table, numbers, "four classes", tmp_path / "layers.png")
    drawn = [line for line in lines if line.get_marker() in ("o", "s")]
    assert len({line.get_marker() for line in drawn}) == 2
    svm, softmax = (np.array(line.get_xdata(), float) for line in drawn)
    assert min(abs(svm - softmax)) > 0.05
    np.testing.assert_allclose(svm, [1, 7], atol=0.1)


@pytest.mark.parametrize("paper", [False, True])
def test_the_paper_s_numbers_are_drawn_only_where_asked(lines, tmp_path, paper):
    table = [Row("trained", "conv1", "svm", 0.5, None, 1)]
    layers_picture(table, {"conv1": 1}, "four classes", tmp_path / "layers.png", paper=paper)
    assert any("paper" in str(line.get_label()) for line in lines) is paper
