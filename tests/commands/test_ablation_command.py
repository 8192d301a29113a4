"""tools/ablation.py, as a user runs it, on the tiny configuration."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_runs import STEPS, VAL, Zfnet, lines_of, one_line
from conftest import ROOT

from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint
from zfnet_jax.training.evaluation import evaluate_nets

pytest_plugins = ["tiny_runs"]

ABLATION = ROOT / "tools" / "ablation.py"
TABLE = ["ablation.json", "ablation.md", "ablation.png"]
TWO = ("alexnet-without-3-4-6-7", "zfnet-half-6-7")

# Stops itself once the second model has had three steps.
STOPPED = """
import os, runpy, signal, sys
from zfnet_jax.training.meter import Meter

add, count = Meter.add, int(sys.argv[1])
seen = 0

def noted(self, step, values):
    global seen
    seen += 1
    add(self, step, values)
    if seen == count:
        os.kill(os.getpid(), signal.SIGTERM)

Meter.add = noted
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def numbers(out: Path) -> dict:
    return json.loads((out / "ablation.json").read_text())


def files_of(run: Path) -> dict[Path, int]:
    """Of a run that was not touched nothing is new."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*")}


@pytest.fixture(scope="module")
def stopped(zfnet: Zfnet) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Two models, stopped in the midst of the second."""
    out = zfnet.place / "runs" / "tiny"
    models = ("--config", zfnet.config, "--models", *reversed(TWO))
    return out, zfnet.run("-c", STOPPED, STEPS + 3, ABLATION, *models)


@pytest.mark.slow
def test_a_stop_and_going_on(zfnet: Zfnet, stopped):
    out, result = stopped
    assert result.returncode == 128 + signal.SIGTERM
    assert result.stdout.splitlines()[-1] == (
        "stopped and saved; the same command goes on from runs/tiny"
    )
    # What was finished is in the table already.
    assert [each["name"] for each in numbers(out)["models"]] == [TWO[0]]
    assert set(TABLE) <= {path.name for path in out.iterdir()}
    first, second = (out / f"{name}-seed0" for name in TWO)
    assert max(line["step"] for line in lines_of(second)) == 3
    untouched = files_of(first)

    result = zfnet.run(ABLATION, "--config", zfnet.config, "--models", *TWO)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == "wrote ablation.md, .json and .png to runs/tiny: 2 runs"
    table = (out / "ablation.md").read_text()
    assert "\n".join(lines[-1 - len(table.splitlines()) : -1]) + "\n" == table
    assert files_of(first) == untouched
    steps = [line["step"] for line in lines_of(second) if line["split"] == "train"]
    assert steps == list(range(1, STEPS + 1))

    data = numbers(out)
    assert data["recipe"]["architecture"]["name"] == "zfnet_small"
    assert [each["name"] for each in data["models"]] == list(TWO)
    for each, run in zip(data["runs"], (first, second), strict=True):
        net = checkpoint.load(run)
        assert net.config.name == each["model"]
        assert (net.step, net.config.seed, each["run"]) == (STEPS, 0, run.name)
        assert net.architecture.parameter_count(3) == each["parameters"]
        splits = open_splits(net.config.data, 0)
        (train,), (val,) = (evaluate_nets([net], source) for source in (splits.train, splits.val))
        assert each["train_top1"] == pytest.approx(1 - train["top1"])
        assert each["val_top1"] == pytest.approx(1 - val["top1"])
        assert each["val_top5"] == pytest.approx(1 - val["top5"])
        assert (each["train_images"], each["val_images"]) == (len(splits.train), VAL)
        assert 0 < each["seconds"] < 600
        assert "jax" in each["hardware"]

    # Another recipe has no place in the same table, and is noticed before anything is trained.
    other = zfnet.place / "other.py"
    other.write_text(zfnet.config.read_text().replace("patience=1", "patience=2"))
    message = one_line(zfnet.run(ABLATION, "--config", other, "--models", TWO[0]))
    assert message == (
        "error: optimizer.patience 2: runs/tiny/parts.json was started with 1; expected the same, "
        "or another --out\n"
    )
    # A second seed joins the first.
    result = zfnet.run(ABLATION, "--config", zfnet.config, "--models", TWO[0], "--seeds", 0, 4, 4)
    assert (result.returncode, result.stderr) == (0, "")
    assert [(each["model"], each["seed"]) for each in numbers(out)["runs"]] == [
        *((name, 0) for name in TWO),
        (TWO[0], 4),
    ]
    assert checkpoint.load(out / f"{TWO[0]}-seed4").config.seed == 4
    assert files_of(first) == untouched


def failure(place: Path, *args: object) -> str:
    return one_line(
        subprocess.run(
            [sys.executable, str(ABLATION), *map(str, args)],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--models", "vgg"), "error: model 'vgg': expected one of alexnet, alexnet-without-3-4, "),
        (("--seeds",), "error: --seeds : expected at least one"),
        (("--seeds", -1), "error: seed = -1: expected 0 up to below 2^31"),
        (("--config", "nowhere.py"), "error: config nowhere.py: expected a Python file"),
        (("--out", "file"), "error: file: expected a folder, it is a file"),
    ],
    ids=["model", "no seed", "seed", "config", "out"],
)
def test_what_a_user_can_get_wrong(zfnet: Zfnet, tmp_path: Path, options, message):
    (tmp_path / "file").write_text("mine")
    given = options if options[0] == "--config" else ("--config", zfnet.config, *options)
    assert failure(tmp_path, *given).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_net_that_is_no_zfnet(zfnet: Zfnet, tmp_path: Path):
    config = tmp_path / "config.py"
    config.write_text(
        "from zfnet_jax.config import TrainConfig\n"
        "from zfnet_jax.zfnet.architecture import ALEXNET\n"
        "def get_config():\n    return TrainConfig(architecture=ALEXNET)\n"
    )
    message = failure(tmp_path, "--config", config)
    assert message.startswith("error: architecture 'alexnet': expected the layers of Fig 3, conv1")
    assert list(tmp_path.iterdir()) == [config]


def test_help_has_an_example(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(ABLATION), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Example: zfnet-jax ablation --config" in done.stdout
