"""The evolution command on a run of nets of random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_runs import trace_of
from PIL import Image
from tiny_nets import EPOCHS, WIDTH

from zfnet_jax.commands import command_line
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint, run_folder

pytest_plugins = ["tiny_runs"]


@pytest.fixture
def failure(main, capsys, tmp_path: Path):
    """Runs the command where it must fail; gives its one line."""

    def run(*args: object) -> str:
        with pytest.raises(SystemExit) as stop:
            command_line.run(main, [*map(str, args), "--out", str(tmp_path / "out")])
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
        assert not (tmp_path / "out").exists()
        return err

    return run


def test_against_the_nets(main, capsys, untrained: Path, tmp_path: Path):
    out = tmp_path / "fig4"
    options = ("--layers", "conv2", "conv5", "--count", 3, "--out", out)
    command_line.run(main, list(map(str, ("--ckpt", untrained, *options))))
    said = capsys.readouterr().out
    assert said.startswith(f"wrote evolution.png, .json and .npz to {out}: ")
    described = json.loads((out / "evolution.json").read_text())
    assert described["epochs"] == list(EPOCHS)
    assert 0 < len(described["maps"]) <= 6
    net = checkpoint.load(untrained)
    train = open_splits(net.config.data, net.config.seed).train
    with np.load(out / "evolution.npz") as arrays:
        assert set(arrays) == {row["layer"] for row in described["maps"]}
    with Image.open(out / "evolution.png") as picture:
        assert picture.width > picture.height
    for column, path in enumerate(run_folder.snapshots(untrained).values()):
        trace = trace_of(checkpoint.load(path), train)
        for row in described["maps"]:
            maps = np.asarray(trace.activations[row["layer"]])[..., row["map"]]
            strongest = row["strongest"][column]
            if strongest is None:
                assert maps.max() <= 0
            else:
                assert strongest["value"] == pytest.approx(maps.max(), rel=1e-4)
                assert strongest["label"] == train.class_names[train[strongest["image"]].label]


def test_maps_by_their_numbers(main, capsys, untrained: Path, tmp_path: Path):
    options = ("--layers", "conv2", "--maps", 6, 1, "--out", tmp_path)
    command_line.run(main, list(map(str, ("--ckpt", untrained, *options))))
    described = json.loads((tmp_path / "evolution.json").read_text())
    assert [row["map"] for row in described["maps"]] == [6, 1]


def test_what_a_user_can_get_wrong(failure, untrained: Path, tmp_path: Path):
    good = ("--ckpt", untrained)
    for args, said in (
        (("--ckpt", tmp_path), f"{tmp_path / 'snapshots'}: expected the snapshots of a run's"),
        ((*good, "--layers", "conv9"), "layer 'conv9': expected one of conv1"),
        ((*good, "--maps", WIDTH), f"--maps {WIDTH}: expected 0..{WIDTH - 1}, conv1 has {WIDTH}"),
        ((*good, "--count", 0), "--count 0: expected 1 or more"),
        ((*good, "--batch-size", 0), "--batch-size 0: expected 1 or more"),
    ):
        assert failure(*args).startswith(f"error: {said}")
