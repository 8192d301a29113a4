"""A tiny data set, and a run of a tiny net on it, made once for all test processes.

A plugin: a test module that says `pytest_plugins = ["tiny_runs"]` has these fixtures.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_runs import CONFIG, PICTURES, Finished, Result, Zfnet
from filelock import FileLock
from PIL import Image
from tiny_nets import EPOCHS, STEP, random_net

from zfnet_jax import config as configs
from zfnet_jax.training import run_folder
from zfnet_jax.training.checkpoint import Checkpoints, Progress

COLOURS = {"blue": (60, 80, 180), "green": (60, 170, 80), "red": (180, 70, 60)}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session see."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def picture_folder(shared: Path) -> Path:
    """Noise of three colours, a folder for each; treat it as read-only."""
    root, rng = shared / "pictures", np.random.default_rng(0)
    with FileLock(shared / "pictures.lock"):
        if root.exists():
            return root
        for name, colour in COLOURS.items():
            (root / name).mkdir(parents=True)
            for number in range(PICTURES // len(COLOURS)):
                pixels = rng.normal(colour, 30, (40, 44, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def zfnet(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Zfnet:
    """The commands, in a folder of their own."""
    place = tmp_path_factory.mktemp("elsewhere")
    config = place / "tiny.py"
    config.write_text(CONFIG % picture_folder)
    return Zfnet(place, config)


@pytest.fixture(scope="session")
def finished(shared: Path, zfnet: Zfnet) -> Finished:
    """The tiny run; treat it as read-only."""
    run, output = shared / "finished", shared / "finished.json"
    with FileLock(shared / "finished.lock"):
        if not output.exists():
            result = zfnet.train(run, "--train.checkpoint-steps", 1, "--train.keep", 100)
            assert (result.returncode, result.stderr) == (0, "")
            output.write_text(json.dumps(result.stdout))
    return Finished(run, Result([], 0, json.loads(output.read_text()), ""))


@pytest.fixture(scope="session")
def untrained(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, as training leaves it, of nets of random weights; treat it as read-only."""
    run = tmp_path_factory.mktemp("runs") / "untrained"
    run.mkdir()
    nets = [random_net(f"folder:{picture_folder}", seed=seed) for seed in range(len(EPOCHS))]
    config = nets[-1].config
    assert config
    (run / "config.json").write_text(json.dumps(configs.to_json(config)))
    scores = {"loss": 1.0, "top1": 0.5, "top5": 1.0, "per_class": 0.5}
    speeds = {"images_per_second": 100.0, "learning_rate": 0.01, "grad_norm": 1.0}
    lines = [
        {"split": split, "step": STEP, "epoch": 5.0, **scores, **speeds}
        for split in ("train", "val")
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for epoch, net in zip(EPOCHS, nets, strict=True):
        run_folder.keep_snapshot(run, net, epoch)
    with Checkpoints(run, keep=1) as checkpoints:
        checkpoints.save(Progress(nets[-1], [np.zeros(1, np.float32)]))
    return run
