"""The loop on a net of two layers, in this process."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from command_runs import TWO_LAYERS, bits_of, lines_of

from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.core import devices
from zfnet_jax.data.config import DataConfig
from zfnet_jax.training import checkpoint
from zfnet_jax.training import run as training_run
from zfnet_jax.training.metrics import Scores
from zfnet_jax.training.run import fit
from zfnet_jax.training.setup import set_up

pytest_plugins = ["tiny_runs"]


@pytest.fixture
def config(picture_folder: Path) -> TrainConfig:
    """36 training images; two epochs of four steps."""
    return TrainConfig(
        architecture=TWO_LAYERS,
        init="he",
        data=DataConfig(source=f"folder:{picture_folder}", val_fraction=0.25),
        optimizer=OptimizerConfig(learning_rate=1e-5),
        train=LoopConfig(epochs=2, batch_size=8, log_steps=1, checkpoint_steps=1),
    )


def test_a_validation_loss_that_is_not_finite_stops_the_run(config, monkeypatch, tmp_path: Path):
    """At a rate of 1e6 the parameters are finite and the loss that they give is not."""
    config = replace(config, train=replace(config.train, checkpoint_steps=3))
    evaluate = training_run.evaluate

    def not_finite(nets, image_sets, *args, **options) -> list[Scores]:
        scores = evaluate(nets, image_sets, *args, **options)
        second = checkpoint.steps(tmp_path)[-1] > 4
        return [score._replace(loss=np.float32(np.nan)) for score in scores] if second else scores

    monkeypatch.setattr(training_run, "evaluate", not_finite)
    with pytest.raises(ValueError, match=r"validation loss is not finite at step 8 \(nan\)") as no:
        fit(config, tmp_path)
    assert "the last good checkpoint is that of step 6" in str(no.value)
    assert checkpoint.steps(tmp_path)[-1] == 6
    assert [line["step"] for line in lines_of(tmp_path) if line["split"] == "val"] == [4]
    for row in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(row, parse_constant=lambda name: pytest.fail(name))


def test_a_run_that_starts_from_another_net(config, capsys, tmp_path: Path):
    first, _ = set_up(config, tmp_path / "first")
    with training_run.open_run(config, tmp_path / "first") as run:
        run.step = 1  # a checkpoint without a step of training
        run.save()
    net = checkpoint.load(tmp_path / "first")
    capsys.readouterr()
    again = replace(config, seed=5, init_from=str(tmp_path / "first"))
    setup, state = set_up(again, tmp_path / "again")
    jax.tree.map(np.testing.assert_array_equal, state.params, net.params)
    np.testing.assert_array_equal(setup.preprocessing.mean, first.preprocessing.mean)
    assert capsys.readouterr().out.startswith(
        f"from {tmp_path / 'first'}: took conv1, fc2 and the preprocessing; new: none\n"
    )
    stored = json.loads((tmp_path / "again" / "config.json").read_text())
    assert stored["init_from"] == str(tmp_path / "first")


def test_a_start_that_does_not_fit_leaves_no_folder(config, tmp_path: Path):
    config = replace(config, init_from="caltech101")
    with pytest.raises(ValueError, match="init_from caltech101: no layer has the name and the"):
        set_up(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"nowhere: expected a run's folder"):
        set_up(replace(config, init_from="nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_small_data_set_lowers_the_batch_size(config, capsys, tmp_path: Path):
    asked = replace(config, train=replace(config.train, batch_size=32, fit_to_data=True))
    setup, _ = set_up(asked, tmp_path)
    expected = max(8, devices.make_mesh().size)
    assert setup.config.train.batch_size == expected
    assert "for 36 training images: train.batch_size 8 in place of 32" in capsys.readouterr().out
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["train"]["batch_size"] == expected


@pytest.mark.slow
def test_fine_tuning_goes_on_with_the_same_bits(config, tmp_path: Path):
    fit(config, tmp_path / "first")
    tuned = replace(config, seed=5, init_from=str(tmp_path / "first"))
    fit(tuned, tmp_path / "whole")
    fit(replace(tuned, train=replace(tuned.train, max_steps=3)), tmp_path / "parts")
    fit(tuned, tmp_path / "parts")
    assert bits_of(tmp_path / "parts") == bits_of(tmp_path / "whole")
    first, whole = (checkpoint.load(tmp_path / name) for name in ("first", "whole"))
    np.testing.assert_array_equal(whole.preprocessing.mean, first.preprocessing.mean)
    assert np.any(whole.params["conv1"]["kernel"] != first.params["conv1"]["kernel"])
