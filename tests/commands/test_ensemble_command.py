"""tools/ensemble.py, as a user runs it, on the tiny configuration."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from command_runs import STEPS, VAL, Zfnet, lines_of, one_line, with_lists
from conftest import ROOT

from zfnet_jax import config as configs
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint
from zfnet_jax.training.evaluation import evaluate_nets

pytest_plugins = ["tiny_runs"]

ENSEMBLE = ROOT / "tools" / "ensemble.py"

# Stops itself once the first of the nets has noted so many steps.
STOPPED = """
import os, runpy, signal, sys
from zfnet_jax.training.meter import Meter

add, counts = Meter.add, [int(sys.argv[1])]

def noted(self, step, values):
    add(self, step, values)
    if step in counts:
        counts.clear()
        os.kill(os.getpid(), signal.SIGTERM)

Meter.add = noted
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def config(zfnet: Zfnet) -> Path:
    """The tiny configuration with the split of its first seed as lists."""
    listed, text = with_lists(configs.load(zfnet.config), zfnet.place), zfnet.config.read_text()
    lists = f"train_list={listed.data.train_list!r}, val_list={listed.data.val_list!r}"
    text = text.replace("val_fraction=0.25", f"{lists}, val_fraction=0.25")
    path = zfnet.place / "listed.py"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_a_stop_and_going_on(zfnet: Zfnet, config: Path):
    out = zfnet.place / "runs" / "tiny-ensemble"
    command = (ENSEMBLE, "--config", config, "--count", 2)
    result = zfnet.run("-c", STOPPED, 5, *command, "--together", "yes")
    assert result.returncode == 128 + signal.SIGTERM
    assert result.stdout.splitlines()[-1] == (
        "stopped and saved; the same command goes on from runs/tiny-ensemble"
    )
    runs = [out / "seed0", out / "seed1"]
    assert [checkpoint.load(run).step for run in runs] == [5, 5]
    assert not (out / "ensemble.json").exists()
    result = zfnet.run(*command, "--together", "no")
    assert (result.returncode, result.stderr) == (0, "")
    for run in runs:
        steps = [line["step"] for line in lines_of(run) if line["split"] == "train"]
        assert steps == list(range(1, STEPS + 1))
    lines = result.stdout.splitlines()
    assert lines[-1] == "wrote ensemble.md, .json and .png to runs/tiny-ensemble: 2 nets"
    table = (out / "ensemble.md").read_text()
    assert "\n".join(lines[-1 - len(table.splitlines()) : -1]) + "\n" == table

    data = json.loads((out / "ensemble.json").read_text())
    assert [(each["seed"], each["step"]) for each in data["trained"]] == [(0, STEPS), (1, STEPS)]
    for each in data["trained"]:
        assert (each["seconds"] > 0, each["together"], "jax" in each["hardware"]) == (1, 0, 1)
    assert data["val_images"] == VAL
    nets = [checkpoint.load(run) for run in runs]
    val = open_splits(nets[0].config.data, 0).val
    rows = data["scores"]
    names = ["seed0", "seed1", "mean of 2"]
    assert [(row["views"], row["net"]) for row in rows] == [(v, n) for v in (1, 10) for n in names]
    expected = [each for views in (1, 10) for each in evaluate_nets(nets, val, views=views)]
    for row, numbers in zip(rows, expected, strict=True):
        assert {key: row[key] for key in numbers} == pytest.approx(numbers, rel=1e-4)
    assert len(np.unique([row["loss"] for row in rows])) == len(rows)

    # Nothing is trained or evaluated again.
    before = (out / "parts.json").stat().st_mtime_ns
    again = zfnet.run(*command)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[-1] == lines[-1]
    assert json.loads((out / "ensemble.json").read_text()) == data
    assert (out / "parts.json").stat().st_mtime_ns == before


def test_what_a_user_can_get_wrong(zfnet: Zfnet, tmp_path: Path):
    for options, message in (
        (("--config", zfnet.config), "error: data folder:"),  # split by the seed
        (("--config", zfnet.config, "--count", 1), "error: --count 1: expected 2 or more"),
        (("--config", "nowhere.py"), "error: config nowhere.py: expected a Python file"),
    ):
        result = zfnet.run(ENSEMBLE, *options, "--out", tmp_path / "out")
        assert one_line(result).startswith(message)
    assert not (tmp_path / "out").exists()


def test_help_has_an_example(zfnet: Zfnet):
    done = zfnet.run(ENSEMBLE, "--help")
    assert done.returncode == 0
    assert "Example: zfnet-jax ensemble --config" in done.stdout
