import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from tiny_nets import FRAME, SIZE, random_net, write_net

from zfnet_jax.analysis import affine, invariance
from zfnet_jax.analysis.invariance_sweeps import Sweep, evenly_spaced
from zfnet_jax.commands import command_line
from zfnet_jax.data.decode import decode
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.networks.function import network
from zfnet_jax.report import invariance as report
from zfnet_jax.training import checkpoint

NAMES = Shapes("val", 1).class_names
FEW = ("--translation", -4, 4, 3, "--scale", 1, 1.5, 2, "--rotation", 0, 90, 2)
VALUES = {"translation": [-4, 0, 4], "scale": [1, 1.5], "rotation": [0, 90]}


pytest_plugins = ["tiny_runs"]


class Output(NamedTuple):
    """What the tool wrote and said."""

    numbers: dict[str, Any]
    floats: dict[str, np.ndarray]
    said: str


@pytest.fixture(scope="module")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of random weights for the embedded data set."""
    return write_net(random_net("shapes", NAMES), tmp_path_factory.mktemp("net") / "a.safetensors")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one class, and pictures of no class beside it; one is small."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "boat").mkdir()
    rng = np.random.default_rng(1)
    for name, side in (("boat/1", 60), ("boat/2", 50), ("3", 45), ("4", 20)):
        pixels = rng.integers(0, 255, (side, side + 7, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def tool(main, net_file: Path, capsys, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Output:
        command_line.run(main, ["--ckpt", str(net_file), "--out", "out", *map(str, args)])
        out, err = capsys.readouterr()
        assert err == ""
        names = {path.name for path in Path("out").iterdir()}
        assert names == {"invariance.png", "invariance.json", "invariance.npz"}
        with Image.open("out/invariance.png") as picture:
            assert picture.size[0] > 1000
        numbers = json.loads(Path("out/invariance.json").read_text())
        with np.load("out/invariance.npz") as floats:
            return Output(numbers, dict(floats), out)

    return run


def test_against_the_library(tool, net_file: Path, photos: Path):
    files = [photos / "3.png", photos / "boat"]
    output = tool("--images", *files, *FEW, "--layers", "conv2", "fc6", "pool5")
    net = checkpoint.load(net_file)
    paths = [photos / "3.png", photos / "boat" / "1.png", photos / "boat" / "2.png"]
    frames = np.stack([decode(path.read_bytes(), FRAME) for path in paths])
    images = centre_view(np.float32(frames) - net.preprocessing.mean, SIZE)
    function = network(net)
    top = int(np.argmax(function(images[:1])[0]))
    labels = [top, NAMES.index("boat"), NAMES.index("boat")]
    assert output.floats["labels"].tolist() == labels
    assert [each["label_known"] for each in output.numbers["pictures"]] == [False, True, True]
    assert [each["label"] for each in output.numbers["pictures"]] == [NAMES[n] for n in labels]
    assert [each["name"] for each in output.numbers["pictures"]] == list(map(str, paths))
    layers = ["conv2", "fc6", "pool5"]
    assert output.numbers["layers"] == layers
    for kind, values in VALUES.items():
        maps = affine.TRANSFORMS[kind](np.array(values))
        expected = invariance.respond(function, images, labels, maps, layers)
        assert output.numbers[kind]["values"] == values
        pairs = {"probability": expected.probability}
        pairs |= {f"distance_{layer}": expected.distance[layer] for layer in layers}
        for name, array in pairs.items():
            np.testing.assert_allclose(output.floats[f"{kind}_{name}"], array, rtol=1e-4, atol=1e-4)
        for layer in layers:
            curves = output.numbers[kind]["relative"][layer]
            relative = expected.relative(layer)
            np.testing.assert_allclose(curves["mean"], relative.mean(axis=0), rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(curves["std"], relative.std(axis=0), rtol=1e-3, atol=1e-5)
    assert output.said.endswith(
        "wrote invariance.png, .json and .npz to out: 3 pictures, 7 transformations of each\n"
    )


def test_small_pictures_are_enlarged_and_it_is_said(tool, photos: Path):
    said = tool("--images", photos / "4.png", photos / "3.png", *FEW).said
    assert f"1 picture is smaller than the net's 37-px frame and enlarged, such as {photos}" in said
    assert "4.png (27 x 20 pixels)" in said


def test_own_data_set_and_its_labels(tool):
    output = tool(*FEW, "--count", 7)
    assert len(output.numbers["pictures"]) == 7
    for each in output.numbers["pictures"]:
        number = int(each["name"].removeprefix("val/"))
        assert each["label"] == NAMES[number % len(NAMES)]
        assert each["label_known"]
    again = tool(*FEW, "--count", 7, "--seed", 1)
    assert again.numbers["pictures"] != output.numbers["pictures"]
    # More pictures than go together, the last of them in a group that is filled up.
    both = tool(*FEW, "--count", 9)
    assert both.floats["translation_probability"].shape == (9, 3)
    assert np.isfinite(both.floats["translation_probability"]).all()


def test_one_label_for_all(tool, photos: Path):
    output = tool("--images", photos, *FEW, "--class", "fish", "--distance", "euclidean")
    assert output.floats["labels"].tolist() == [NAMES.index("fish")] * 4


def test_five_have_lines_and_more_have_a_mean(monkeypatch, tmp_path: Path):
    figures = []
    new_figure = report.new_figure
    keep = lambda *args, **options: figures.append(new_figure(*args, **options)) or figures[-1]
    monkeypatch.setattr(report, "new_figure", keep)
    rng = np.random.default_rng(0)
    values = np.array([0.0, 1, 2])
    for count in (5, 6):
        curves = rng.random((count, 3)).astype(np.float32)
        responses = invariance.Responses({"fc7": curves}, {"fc7": np.ones(count)}, curves)
        examples = np.zeros((5, 3, 8, 8, 3), np.uint8)
        sweep = Sweep(values, responses, examples, evenly_spaced(3, 5))
        report.invariance_figure(
            {"translation": sweep},
            ["fc7"],
            [f"picture {n}" for n in range(count)],
            "P(true label)",
            "relative",
            tmp_path / "figure.png",
        )
        _, distance, probability = figures[-1].axes
        lines = np.array([line.get_ydata() for line in distance.get_lines()])
        expected = curves if count == 5 else curves.mean(axis=0, keepdims=True)
        np.testing.assert_allclose(lines, expected, rtol=1e-6)
        assert len(distance.collections) == (count > 5)
        assert probability.get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--layers", "conv9"), "layer 'conv9': expected one of conv1"),
        (("--labels", "unicorn"), "--labels unicorn: expected one of the net's 12 classes"),
        (("--scale", 0, 1, 5), "--scale (0.0, 1.0, 5): expected factors above 0"),
        (("--translation", 0, 9, 0), "--translation (0.0, 9.0, 0): expected 1 step or more"),
        (("--rotation", 0, "nan", 3), "--rotation (0.0, nan, 3): expected finite numbers"),
        (("--count", 0), "--count 0: expected 1 to 1000, the number of pictures"),
        (("--count", 1001), "--count 1001: expected 1 to 1000, the number of pictures"),
        (("--batch-size", 0), "--batch-size 0: expected 1 or more"),
        (("--images", "nothing.png"), "nothing.png: expected a picture or a folder"),
    ],
)
def test_errors_in_one_line(main, net_file, capsys, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, ["--ckpt", str(net_file), "--out", "out", *map(str, options)])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_gone_leaves_nothing(
    main, net_file, capsys, monkeypatch, tmp_path, photos
):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((photos / "3.png").read_bytes()[:200])
    shutil.copy(photos / "3.png", tmp_path / "good.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command_line.run(main, ["--ckpt", str(net_file), "--images", "good.png", "damaged.png"])
    assert "damaged.png: damaged PNG file" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.png", "good.png"}
