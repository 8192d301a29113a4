"""The command first-layers on nets of random weights."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_runs import VAL, trace_of
from conftest import CLASSES, TINY, random_params
from PIL import Image

from zfnet_jax.commands import command_line
from zfnet_jax.config import OptimizerConfig, TrainConfig
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.data.splits import open_splits
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint
from zfnet_jax.zfnet.architecture import Architecture

pytest_plugins = ["tiny_runs"]

WRITTEN = ["first_layers.json", "first_layers.npz", "first_layers.png", "first_layers_plots.png"]


@pytest.fixture
def failure(main, capsys, monkeypatch, tmp_path: Path):
    """Runs the command where it must fail, in another folder; gives its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> str:
        with pytest.raises(SystemExit) as stop:
            command_line.run(main, list(map(str, args)))
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
        return err

    return run


def other_net(place: Path, arch: Architecture) -> Path:
    """A net of other layers, classes and training, in a file."""
    frame = frame_size(arch.input_size)
    config = TrainConfig(name="other", architecture=arch, optimizer=OptimizerConfig(filter_cap=0.0))
    names = tuple(f"class {number}" for number in range(CLASSES))
    mean = np.full((frame, frame, 3), 127.5, np.float32)
    net = Net(
        config.architecture,
        random_params(arch, CLASSES),
        Preprocessing(frame, mean, 1 / 60),
        names,
        3,
        config=config,
    )
    path = place / "other.safetensors"
    weights.write(net, path)
    return path


@pytest.fixture(scope="module")
def compared(main, untrained: Path, picture_folder: Path, tmp_path_factory) -> Path:
    """A run and another net, on the pictures of a folder; treat it as read-only."""
    place = tmp_path_factory.mktemp("compared")
    other = other_net(place, TINY.edit("conv1", stride=2))
    options = ("--images", picture_folder / "red", "--batch-size", 8, "--top", 3, "--count", 4)
    args = ("--ckpt", untrained, other, *options, "--out", place / "out")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        command_line.run(main, list(map(str, args)))
    classes_do_not_fit, *lines = said.getvalue().splitlines()  # of the other net
    assert classes_do_not_fit.startswith("no picture lies in a folder that is called like one")
    assert lines[0].split() == ["1", "tiny", "2", "other"]
    assert lines[1].split("  ")[-2:] == ["8, 5x5, stride 1", "6, 5x5, stride 2"]
    assert lines[-1].startswith("wrote first_layers.png, first_layers_plots.png, .json ")
    return place / "out"


@pytest.mark.slow
def test_of_its_own_validation_set(main, untrained: Path, tmp_path: Path):
    out = tmp_path / "out"
    command_line.run(main, ["--ckpt", str(untrained), "--out", str(out)])
    assert sorted(path.name for path in out.iterdir()) == WRITTEN
    (described,) = json.loads((out / "first_layers.json").read_text())["runs"]
    net = checkpoint.load(untrained)
    trace = trace_of(net, open_splits(net.config.data, net.config.seed).val)
    assert described["images"] == VAL
    assert list(described["firing"]) == [f"conv{number}" for number in range(1, 6)]
    for layer, firing in described["firing"].items():
        fires = (np.asarray(trace.activations[layer]) > 0).any(axis=(1, 2))
        assert firing["share"] == fires.mean(axis=0).tolist()
        assert firing["never"] == np.flatnonzero(~fires.any(axis=0)).tolist()
    kernel = np.asarray(net.params["conv1"]["kernel"])
    rms = np.sqrt((kernel**2).mean(axis=(0, 1, 2)))
    entries = described["first_layer"]["filters"]
    np.testing.assert_allclose([each["rms"] for each in entries], rms, rtol=1e-5)
    joint = kernel.max() - kernel.min()
    for each in entries:
        one = kernel[..., each["filter"]]
        assert each["contrast"] == pytest.approx((one.max() - one.min()) / joint)
        assert each["dead"] == (each["contrast"] < 30 / 255)
        assert each["low"] + each["middle"] + each["high"] == pytest.approx(1)
    assert described["first_layer"]["dead"] == sum(each["dead"] for each in entries)


def test_nets_side_by_side(untrained: Path, compared: Path):
    assert sorted(path.name for path in compared.iterdir()) == WRITTEN
    runs = json.loads((compared / "first_layers.json").read_text())["runs"]
    assert [each["name"] for each in runs] == ["tiny", "other"]
    assert runs[0]["ckpt"] == str(untrained)
    assert [each["first_layer"]["filter_cap"] for each in runs] == [0.1, 0]
    assert [each["first_layer"]["stride"] for each in runs] == [1, 2]
    assert runs[0]["images"] == runs[1]["images"] > 0
    for each in runs:
        assert each["second_layer"]["layer"] == "conv2"
        assert set(each["second_layer"]["maps"]).isdisjoint(each["firing"]["conv2"]["never"])
    with Image.open(compared / "first_layers.png") as picture:
        assert picture.width > picture.height // 2 > 100
    with np.load(compared / "first_layers.npz") as arrays:
        for number, path in enumerate([untrained, compared.parent / "other.safetensors"], 1):
            kernel = np.asarray(checkpoint.load(path).params["conv1"]["kernel"])
            np.testing.assert_array_equal(arrays[f"filters_{number}"], np.moveaxis(kernel, -1, 0))
            assert arrays[f"spectra_{number}"].shape == (kernel.shape[-1], 64, 64)
            maps = runs[number - 1]["second_layer"]["maps"]
            assert len(arrays[f"projections_{number}"]) == len(maps)


def test_a_net_without_a_second_convolution(failure, untrained: Path, tmp_path: Path):
    path = other_net(tmp_path, TINY.without("conv2", "conv3"))
    message = failure("--ckpt", untrained, path, "--out", "out")
    assert message == f"error: {path}: convolutions conv1: expected a net with two or more\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ckpt", "nowhere"), "error: checkpoint nowhere: expected a run's folder"),
        (("--ckpt",), "error: "),
        (("--images", "nowhere"), "error: nowhere: "),
        (("--batch-size", 0), "error: --batch-size 0: expected 1 or more"),
        (("--out", "file"), "error: file: expected a folder, it is a file"),
    ],
    ids=["checkpoint", "no checkpoint", "images", "batch", "out"],
)
def test_what_a_user_can_get_wrong(failure, untrained: Path, tmp_path: Path, options, message):
    (tmp_path / "file").write_text("mine")
    net = () if options[0] == "--ckpt" else ("--ckpt", untrained)
    assert failure(*net, *options).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
