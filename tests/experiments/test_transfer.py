import dataclasses

import numpy as np
import pytest

from zfnet_jax.config import OptimizerConfig, TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.experiments import hardware, transfer
from zfnet_jax.experiments.classify import Scored
from zfnet_jax.experiments.labelled_images import LabelledImages
from zfnet_jax.experiments.record import Record
from zfnet_jax.experiments.transfer import PRE_TRAINED, SCRATCH, Plan, Row, expect_recipe, rows
from zfnet_jax.experiments.transfer_tables import FIG_9, VOC_2012, transfer_text, voc_text

POOL = LabelledImages.of(Shapes("train", 150, seed=0))
PLAN = Plan((1, 3), folds=2, test_limit=5)
FEATURES = np.zeros((len(POOL), 4), np.float32)


def part(model: str, n: int, fold: int, accuracy: float) -> dict:
    return {"model": model, "n": n, "fold": fold, "accuracy": accuracy, "classes": 9}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table():
    parts = [
        part(SCRATCH, 15, 0, 0.25),
        part(PRE_TRAINED, 15, 0, 0.5),
        part(PRE_TRAINED, 2, 0, 0.4),
        part(PRE_TRAINED, 15, 1, 0.6),
    ]
    table = rows(parts)
    assert [(row.model, row.n) for row in table] == [
        (PRE_TRAINED, 2),
        (PRE_TRAINED, 15),
        (SCRATCH, 15),
    ]
    assert table[0] == Row(PRE_TRAINED, 2, 0.4, None, 1, 9)
    assert table[1].mean == pytest.approx(0.55)
    assert table[1].std == pytest.approx(0.1 / 2**0.5)
    lines = transfer_text(table).splitlines()
    assert [cells(line) for line in lines[2:]] == [
        ["pre-trained", "2", "9", "40.0", "-", "-"],
        ["pre-trained", "15", "9", "55.0 ± 7.1", "83.8 ± 0.5", "65.7"],
        ["from scratch", "15", "9", "25.0", "22.8 ± 1.5", "9.0"],
    ]


def test_the_papers_numbers():
    assert np.mean(list(VOC_2012.values())) == pytest.approx(79.0, abs=0.05)
    assert (FIG_9[1], FIG_9[15], FIG_9[60]) == (27.2, 65.7, 74.2)
    found = dict.fromkeys(VOC_2012, 0.5) | {"cat": None}
    lines = {name: rest for name, *rest in map(cells, voc_text(found).splitlines())}
    assert lines["cat"] == ["-", "91.2"]
    assert lines["mean"] == ["50.0", "79.0"]


def test_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    calls = []

    def score(fit, parts, c):
        calls.append(len(parts.train))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Scored(len(calls) / 10, 1.0, parts.classes, len(parts.test), 0.0)

    monkeypatch.setattr(transfer, "score", score)
    with pytest.raises(KeyboardInterrupt):
        transfer.transfer(FEATURES, POOL, PLAN, Record(tmp_path, "transfer", {"net": "x"}))
    transfer.transfer(FEATURES, POOL, PLAN, Record(tmp_path, "transfer", {"net": "x"}))
    record = Record(tmp_path, "transfer", {"net": "x"})
    found = [(each["n"], each["fold"], each["accuracy"]) for each in record.parts]
    assert found == [(1, 0, 0.1), (1, 1, 0.2), (3, 0, 0.4), (3, 1, 0.5)]
    # More counts and folds are added to what is there.
    transfer.transfer(FEATURES, POOL, dataclasses.replace(PLAN, counts=(1, 2, 3), folds=3), record)
    assert len(record.parts) == 9
    assert len(calls) == 10


def test_the_record_of_another_experiment(tmp_path):
    record = Record(tmp_path, "transfer", {"net": "x", "seed": 0})
    record.add({"n": 1}, {})
    with pytest.raises(ValueError, match=r"^seed 1: .*parts.json was started with 0; expected the"):
        Record(tmp_path, "transfer", {"net": "x", "seed": 1})
    with pytest.raises(ValueError, match=r'^experiment "ablation": .* started with "transfer"'):
        Record(tmp_path, "ablation", {"net": "x", "seed": 0})
    # A value that a record lacks is another one.
    with pytest.raises(ValueError, match=r"^test 50: .* was started with null"):
        Record(tmp_path, "transfer", {"net": "x", "seed": 0, "test": 50})


def test_what_comes_with_later_parts(tmp_path):
    identity, later = {"net": "x"}, ["recipe"]
    Record(tmp_path, "transfer", identity, later=later).add({"n": 1}, {})
    recipe = {"epochs": 3, "layers": [{"width": 8}, {"width": 9}]}
    again = Record(tmp_path, "transfer", {**identity, "recipe": recipe}, later=later)
    assert again.find(n=1) == {"n": 1, "hardware": hardware.in_words()}
    again.add({"n": 2}, {})
    assert again.find(n=3) is None
    assert len(Record(tmp_path, "transfer", identity, later=later).parts) == 2
    # What differs is named, however deep it lies.
    other = {"epochs": 3, "layers": [{"width": 8}, {"width": 7}]}
    message = r"^recipe\.layers\[1\]\.width 7: .* was started with 9;"
    with pytest.raises(ValueError, match=message):
        Record(tmp_path, "transfer", {**identity, "recipe": other}, later=later)


def test_parts_of_another_net_are_put_aside(tmp_path, capsys):
    given = tmp_path, "transfer"
    Record(*given, {"net": "x", "seed": 0}).add({"n": 1}, {})
    before = (tmp_path / "parts.json").read_bytes()
    with pytest.raises(ValueError, match=r"^seed 1: "):
        Record(*given, {"net": "y", "seed": 1}, renewing=["net"])
    assert (tmp_path / "parts.json").read_bytes() == before
    anew = Record(*given, {"net": "y", "seed": 0}, renewing=["net"])
    said = capsys.readouterr().out
    (aside,) = tmp_path.glob("parts.*.json")
    assert said.endswith(f"parts of another net, now in {aside.name}; beginning anew\n")
    assert aside.read_bytes() == before
    assert anew.parts == []
    anew.add({"n": 1}, {"accuracy": 0.5})
    assert Record(*given, {"net": "y", "seed": 0}).find(n=1) == anew.parts[0]


def test_two_processes_keep_both_their_parts(tmp_path):
    one, other = (Record(tmp_path, "transfer", {"net": "x"}) for _ in range(2))
    one.add({"n": 1}, {})
    other.add({"n": 2}, {"found": 0})
    # The same part by both counts once.
    assert one.add({"n": 2}, {"found": 1})["found"] == 0
    one.add({"n": 3}, {})
    assert [part["n"] for part in one.parts] == [1, 2, 3]
    assert Record(tmp_path, "transfer", {"net": "x"}).parts == one.parts


def test_short_classes_are_known_before_anything_is_done():
    with pytest.raises(ValueError, match="expected at least 101 in every class"):
        dataclasses.replace(PLAN, counts=(1, 100)).short(POOL)
    assert PLAN.short(POOL) == {1: [], 3: []}


def test_recipes_that_would_look_at_the_test():
    recipe = TrainConfig(optimizer=OptimizerConfig(schedule="cosine"), data=DataConfig())
    with pytest.raises(ValueError, match="expected folder:PATH with PATH/CLASS/PICTURE"):
        expect_recipe(recipe, "shapes", POOL)
    with pytest.raises(ValueError, match="'plateau': expected cosine or constant"):
        expect_recipe(TrainConfig(), "shapes", POOL)
