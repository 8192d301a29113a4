"""Several nets in one program against the same nets alone; the members of an ensemble; Table 2."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from command_runs import TWO_LAYERS, Zfnet, bits_of, each_step_once, with_lists, without_speed
from PIL import Image

from zfnet_jax import config as configs
from zfnet_jax.config import TrainConfig
from zfnet_jax.data import pipeline
from zfnet_jax.data.config import DataConfig
from zfnet_jax.experiments import ensemble
from zfnet_jax.experiments import ensemble_tables as report
from zfnet_jax.experiments.ensemble import bytes_together, fit_together, goes_together, members
from zfnet_jax.training import checkpoint
from zfnet_jax.training.run import fit
from zfnet_jax.training.setup import set_up

pytest_plugins = ["tiny_runs"]

SEEDS = (3, 0)
LAST = 6  # an epoch and a half


def limited(config: TrainConfig, steps: int) -> TrainConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=steps))


@pytest.fixture(scope="module")
def tiny_configs(zfnet: Zfnet) -> list[TrainConfig]:
    """The tiny run from several seeds, each with a split and a mean of its own."""
    config = limited(configs.load(zfnet.config), LAST)
    return [dataclasses.replace(config, seed=seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def alone(tiny_configs: list[TrainConfig], tmp_path_factory) -> list[Path]:
    """Their runs, one after the other; read-only."""
    place = tmp_path_factory.mktemp("alone")
    runs = [place / f"seed{config.seed}" for config in tiny_configs]
    assert ensemble.fit_one_by_one(tiny_configs, runs) is None
    return runs


def distance(run: Path, other: Path) -> float:
    """Between the parameters and optimiser states of two runs, relative to their length."""
    flat = []
    for each in (run, other):
        progress = checkpoint.load_progress(each)
        assert progress is not None
        assert progress.net.step == LAST
        leaves = jax.tree.leaves((progress.net.params, list(progress.optimizer)))
        flat.append(np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float64))
    finite = np.isfinite(flat[0])
    one, two = (values[finite] for values in flat)
    return float(np.linalg.norm(one - two) / np.linalg.norm(two))


def expect_same(found: list[Path], alone: list[Path]) -> None:
    for run, other in zip(found, alone, strict=True):
        assert distance(run, other) < 1e-6
        assert each_step_once(run)
        lines, expected = without_speed(run), without_speed(other)
        assert [line.pop("split") for line in lines] == [line.pop("split") for line in expected]
        assert lines == [pytest.approx(line, rel=1e-4) for line in expected]
        mine, its = (checkpoint.load(each) for each in (run, other))
        assert mine.config == its.config
        assert mine.preprocessing.mean.tobytes() == its.preprocessing.mean.tobytes()


@pytest.mark.slow
def test_together_each_net_becomes_what_it_becomes_alone(tiny_configs, alone, tmp_path: Path):
    runs = [tmp_path / run.name for run in alone]
    assert fit_together(tiny_configs, runs) is None
    expect_same(runs, alone)
    # The seeds differ in all they decide.
    assert distance(runs[0], alone[1]) > 0.1
    # A finished ensemble has nothing left to do.
    before = [bits_of(run) for run in runs]
    assert fit_together(tiny_configs, runs) is None
    assert [bits_of(run) for run in runs] == before


@pytest.mark.slow
def test_nets_that_were_stopped_at_different_steps_go_on_together(
    tiny_configs, alone, tmp_path: Path
):
    runs = [tmp_path / run.name for run in alone]
    # At the end of a limit there is a validation; this one is the end of an epoch as well.
    assert fit(limited(tiny_configs[1], 4), runs[1]) is None
    assert fit_together(tiny_configs, runs) is None
    expect_same(runs, alone)


@pytest.mark.slow
def test_memory_grows_with_the_nets(tiny_configs):
    one, three = (bytes_together(tiny_configs[0], 3, count) for count in (1, 3))
    parameters = 4 * tiny_configs[0].architecture.parameter_count(3)
    assert one > 2 * parameters  # the momentum's as well
    assert three > 3 * 2 * parameters
    assert three > 2 * one


def test_where_nets_go_together(tiny_configs, monkeypatch):
    assert not goes_together(tiny_configs[0], 3, 2)  # a CPU

    class Device:
        def memory_stats(self):
            return {"bytes_limit": limit}

    monkeypatch.setattr(ensemble, "bytes_together", lambda config, classes, count: 100 * count)
    monkeypatch.setattr(ensemble.jax, "devices", lambda: [Device()])
    limit = 200
    assert goes_together(tiny_configs[0], 3, 2)
    assert not goes_together(tiny_configs[0], 3, 3)


# Members


def test_members_differ_in_their_seed():
    config = TrainConfig(seed=5, data=DataConfig(source="shapes"))
    found = members(config, 3)
    assert [each.seed for each in found] == [5, 6, 7]
    assert {dataclasses.replace(each, seed=5) for each in found} == {config}


def test_a_split_by_the_seed_is_refused(zfnet: Zfnet, tmp_path: Path):
    config = configs.load(zfnet.config)
    with pytest.raises(ValueError, match=r"data folder:.*: the seed splits it, .*data\.train_list"):
        members(config, 2)
    assert len(members(with_lists(config, tmp_path), 2)) == 2


def test_nets_on_the_same_pictures_decode_them_once(zfnet: Zfnet, tmp_path: Path, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        pipeline, "decode", lambda *given, to=pipeline.decode: decoded.append(1) or to(*given)
    )
    config = dataclasses.replace(configs.load(zfnet.config), architecture=TWO_LAYERS)
    runs = members(with_lists(config, tmp_path), 2)
    first, _ = set_up(runs[0], tmp_path / "a")
    second, _ = set_up(runs[1], tmp_path / "b", [first])
    assert (second.train, second.val) == (first.train, first.val)
    assert len(decoded) == len(first.train)  # for the mean
    other = dataclasses.replace(config, seed=1)
    third, _ = set_up(other, tmp_path / "c", [first])
    assert third.train is not first.train
    assert third.val is not first.val


# The table

ROWS = [{"top1": 0.5, "top5": 0.75}, {"top1": 0.4, "top5": 0.7}, {"top1": 0.6, "top5": 0.8}]
SCORES = {1: ROWS, 10: [{"top1": 0.9, "top5": 0.95}] * 3}


def test_the_table_has_the_papers_rows():
    lines = report.table(["seed0", "seed1"], SCORES).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][1:] == ["top-1, 1 view", "top-5, 1 view", "top-1, 10 views", "top-5, 10 views"]
    assert cells[2] == ["seed0", "50.0", "25.0", "10.0", "5.0"]
    assert cells[4] == ["mean of 2", "40.0", "20.0", "10.0", "5.0"]
    assert cells[-3] == ["paper: 5 nets as Fig 3 (a)", "", "", "36.7", "15.3"]
    assert cells[-1] == ["paper: 6 nets, (a) and (b)", "", "", "36.0", "14.7"]
    assert len(cells) == 5 + len(report.PAPER)


def test_the_figure(tmp_path: Path):
    report.plot(["seed0", "seed1"], SCORES, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width > 800
