"""A tiny data set, and runs of a tiny net on it, once for all tests.

A plugin: a test module that says `pytest_plugins = ["tiny_runs"]` has these fixtures.
"""

from pathlib import Path

import numpy as np
import pytest
from command_runs import CONFIG, PICTURES, Finished, Zfnet
from PIL import Image

COLOURS = {"blue": (60, 80, 180), "green": (60, 170, 80), "red": (180, 70, 60)}


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of three colours, a folder for each."""
    root, rng = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
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
def finished(zfnet: Zfnet) -> Finished:
    """The tiny run; treat it as read-only."""
    run = zfnet.place / "runs" / "finished"
    result = zfnet.train(run, "--train.checkpoint-steps", 1, "--train.keep", 100)
    assert (result.returncode, result.stderr) == (0, "")
    return Finished(run, result)
