"""configs/imagenet.py as its docstring says, on made-up pictures: pack, train a step, look."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from zfnet_jax.training import checkpoint
from zfnet_jax.zfnet import architecture


def command(place: Path, *args: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *args], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_step_of_the_paper_s_recipe(tmp_path: Path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 64), ("val", 2)):
        for name in ("n01440764", "n01443537"):
            folder = tmp_path / "ILSVRC2012" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
                small.resize((320, 280)).save(folder / f"{number:03}.jpg")
    command(
        tmp_path,
        *(ROOT / "tools/prepare_images.py", "ILSVRC2012", "--out", "data/imagenet"),
        *("--name", "imagenet"),
    )
    run = tmp_path / "run"
    command(
        tmp_path,
        *("-m", "zfnet_jax.train", "--config", ROOT / "configs/imagenet.py", "--workdir", run),
        *("--train.max-steps", "1", "--train.log-steps", "1"),
    )
    train, val = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert train["loss"] == pytest.approx(np.log(2), rel=0.05)  # two classes, told apart by nothing
    assert (train["step"], train["learning_rate"]) == (1, pytest.approx(0.01))
    assert val["split"] == "val"
    net = checkpoint.load(run)
    assert net.architecture == architecture.ZFNET
    assert net.params["fc6"]["kernel"].shape == (9216, 4096)
