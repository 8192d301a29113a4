import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zfnet_jax.training import metrics
from zfnet_jax.training.metrics import MetricsLog, Scores, accuracies_text, score


def random_predictions(count: int, classes: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    logits = jnp.float32(rng.normal(size=(count, classes)))
    return jax.nn.log_softmax(logits), jnp.int32(rng.integers(0, classes, count))


def as_lists(scores: Scores) -> tuple[list, list, list]:
    return tuple(np.asarray(counts).tolist() for counts in scores[1:])


def test_scores_by_hand():
    probabilities = jnp.float32(
        [
            [0.4, 0.3, 0.1, 0.08, 0.07, 0.05],
            [0.4, 0.3, 0.1, 0.08, 0.07, 0.05],
            [0.05, 0.07, 0.08, 0.1, 0.3, 0.4],
        ]
    )
    scores = score(jnp.log(probabilities), jnp.int32([0, 5, 1]))
    assert as_lists(scores) == ([1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1])
    assert float(scores.loss) == pytest.approx(-np.log([0.4, 0.05, 0.07]).sum(), rel=1e-6)
    summary = scores.summary()
    assert summary == pytest.approx(
        {
            "loss": float(scores.loss) / 3,
            "top1": 1 / 3,
            "top5": 2 / 3,
            "per_class": 1 / 3,  # Of the three classes that occur.
        }
    )
    assert {type(value) for value in summary.values()} == {float}


def test_scores_are_those_of_sorting():
    log_probabilities, labels = random_predictions(200, 9)
    scores = score(log_probabilities, labels)
    order = np.argsort(-np.asarray(log_probabilities), axis=1)
    ranks = np.argmax(order == np.asarray(labels)[:, None], axis=1)
    for tries, hits in ((1, scores.top1), (5, scores.top5)):
        expected = np.bincount(np.asarray(labels)[ranks < tries], minlength=9)
        np.testing.assert_array_equal(hits, expected)


def test_scores_add_up_over_batches():
    log_probabilities, labels = random_predictions(60, 9)
    whole = score(log_probabilities, labels)
    cuts = [slice(0, 7), slice(7, 40), slice(40, 60)]
    first, *rest = (score(log_probabilities[cut], labels[cut]) for cut in cuts)
    total = first
    for part in rest:
        total = total.plus(part)
    assert as_lists(total) == as_lists(whole)
    assert total.summary() == pytest.approx(whole.summary(), rel=1e-6)


def test_rows_that_fill_a_batch_do_not_count():
    log_probabilities, labels = random_predictions(20, 9)
    filled = jnp.concatenate([log_probabilities, jnp.full((5, 9), -jnp.inf)])
    scores = score(filled, jnp.concatenate([labels, jnp.full(5, -1, jnp.int32)]))
    assert as_lists(scores) == as_lists(score(log_probabilities, labels))
    assert float(scores.loss) == pytest.approx(float(score(log_probabilities, labels).loss))
    assert int(scores.count.sum()) == 20


def test_of_equally_probable_classes_the_first_counts_as_more_probable():
    equal = jnp.full((7, 7), -np.log(7), jnp.float32)
    scores = score(equal, jnp.arange(7, dtype=jnp.int32))
    assert as_lists(scores)[:2] == ([1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0])


def test_of_three_classes_all_are_among_the_five_most_probable():
    log_probabilities, labels = random_predictions(20, 3)
    assert score(log_probabilities, labels).summary()["top5"] == 1


def test_the_mean_over_classes_weighs_a_rare_class_as_much():
    count = np.array([90, 10, 0])
    scores = Scores(0.0, np.array([90, 0, 0]), count, count)
    assert scores.summary()["top1"] == pytest.approx(0.9)
    assert scores.summary()["per_class"] == pytest.approx(0.5)


# The record


TRAIN = {"top1": 0.25, "top5": 0.5, "learning_rate": 0.1, "images_per_second": 7.0}
VAL = {**TRAIN, "per_class": 0.2}


def write_steps(run: Path, start: int, stop: int, loss: float) -> None:
    with MetricsLog(run, start) as log:
        for step in range(start + 1, stop + 1):
            log.write("train", step, step / 4, {"loss": loss, **TRAIN})
        log.write("val", stop, stop / 4, {"loss": loss, **VAL})


def steps(run: Path, split: str) -> list[int]:
    return [line["step"] for line in metrics.read(run) if line["split"] == split]


def test_a_line_is_what_was_written(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write("val", 3, 0.123456, {"loss": 0.5, **VAL})
    line = {"step": 3, "epoch": 0.1235, "split": "val", "loss": 0.5, **VAL}
    assert metrics.read(tmp_path) == [line]
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(row) for row in text.splitlines()] == [line]
    assert list(tmp_path.glob("events.*"))


def test_after_a_resume_each_step_is_there_once(tmp_path):
    write_steps(tmp_path, 0, 8, loss=1.0)
    write_steps(tmp_path, 5, 9, loss=2.0)  # From a checkpoint before the end of the record.
    assert steps(tmp_path, "train") == list(range(1, 10))
    assert steps(tmp_path, "val") == [9]
    assert [line["loss"] for line in metrics.read(tmp_path)] == [1.0] * 5 + [2.0] * 5


def test_a_line_that_is_there_is_not_written_again(tmp_path):
    write_steps(tmp_path, 0, 8, loss=1.0)
    with MetricsLog(tmp_path, 8) as log:
        log.write("val", 8, 2.0, {"loss": 3.0, **VAL})
    assert steps(tmp_path, "val") == [8]


@pytest.mark.parametrize("kept", [1, 10, -2, -1])
def test_a_last_line_cut_short_is_left_out_and_written_anew(tmp_path, kept):
    write_steps(tmp_path, 0, 3, loss=1.0)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2].rstrip("\n")[:kept])
    assert steps(tmp_path, "train") == [1, 2]
    write_steps(tmp_path, 2, 4, loss=2.0)
    assert steps(tmp_path, "train") == [1, 2, 3, 4]


DAMAGED = [
    "",
    "{",
    "[]",
    "17",
    '{"step": 2}',
    "[" * 100_000,
    json.dumps({"step": 2, "epoch": 0.5, "split": "train", "loss": None, **TRAIN}),
    json.dumps({"step": 2, "epoch": 0.5, "split": "train", "loss": "1.0", **TRAIN}),
    json.dumps({"step": 2, "epoch": 0.5, "split": "train", "loss": float("nan"), **TRAIN}),
    json.dumps({"step": 2, "epoch": 0.5, "split": "test", "loss": 1.0, **TRAIN}),
    json.dumps({"step": "2", "epoch": 0.5, "split": "train", "loss": 1.0, **TRAIN}),
    json.dumps({"step": 2, "epoch": 0.5, "split": ["train"], "loss": 1.0, **TRAIN}),
    json.dumps({"step": 2, "epoch": 0.5, "split": "val", "loss": 1.0, **TRAIN}),
]


@pytest.mark.parametrize("row", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_named_and_the_others_are_kept(tmp_path, capsys, row):
    write_steps(tmp_path, 0, 3, loss=1.0)
    path = tmp_path / "metrics.jsonl"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], row, *rows[2:]]) + "\n")
    assert steps(tmp_path, "train") == [1, 3]
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {path}, line 2: expected JSON with step, epoch, split")
    assert said.count("\n") == 1
    write_steps(tmp_path, 3, 4, loss=2.0)  # a resumed run writes the good lines alone
    capsys.readouterr()
    assert steps(tmp_path, "train") == [1, 3, 4]
    assert capsys.readouterr().err == ""


def test_bytes_that_are_no_text_are_a_damaged_line(tmp_path, capsys):
    write_steps(tmp_path, 0, 3, loss=1.0)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\xff\xfe\n" + path.read_bytes())
    assert steps(tmp_path, "train") == [1, 2, 3]
    assert f"{path}, line 1: " in capsys.readouterr().err


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    with MetricsLog(tmp_path, 0) as log, pytest.raises(ValueError, match="not JSON compliant"):
        log.write("val", 1, 0.1, {"loss": float("nan"), **VAL})
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize(("classes", "shown"), [(5, False), (6, True)])
def test_top_5_of_five_classes_says_nothing(classes, shown):
    text = accuracies_text({"top1": 0.5, "top5": 1.0, "per_class": 0.25}, classes)
    middle = ", top-5 100.00%" if shown else ""
    assert text == f"top-1 50.00%{middle}, per class 25.00%"


def test_a_run_without_a_record_has_no_lines(tmp_path):
    assert metrics.read(tmp_path) == []


def test_an_inactive_log_writes_nothing(tmp_path):
    with MetricsLog(tmp_path, 0, active=False) as log:
        log.write("train", 1, 0.1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())
