import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import VAL, files_below
from PIL import Image
from tiny_nets import FRAME, SIZE, STEP, WIDTH, random_net, write_net

from zfnet_jax.commands import command_line
from zfnet_jax.data.decode import decode
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.features.unit_pixels import OUTSIDE
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.report import panels
from zfnet_jax.training import checkpoint
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.model import forward
from zfnet_jax.zfnet.units import Units

pytest_plugins = ["tiny_runs"]

DEAD = 3
"""The map of conv5 that a bias kills."""


class Output(NamedTuple):
    """What the tool wrote for a layer."""

    picture: np.ndarray
    numbers: dict[str, Any]
    floats: dict[str, np.ndarray]

    @classmethod
    def of(cls, folder: Path, layer: str) -> "Output":
        names = {f"{layer}.png", f"{layer}.json", f"{layer}.npz", "filters.png"}
        assert {path.name for path in folder.iterdir()} == names
        with Image.open(folder / f"{layer}.png") as picture:
            pixels = np.asarray(picture)
        numbers = json.loads((folder / f"{layer}.json").read_text())
        with np.load(folder / f"{layer}.npz") as floats:
            return cls(pixels, numbers, dict(floats))


@pytest.fixture(scope="module")
def net_file(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of random weights with a map that nothing excites."""
    net = random_net(f"folder:{picture_folder}")
    net.params["conv5"]["bias"] = np.where(np.arange(WIDTH) == DEAD, -1e3, 0.01).astype(np.float32)
    return write_net(net, tmp_path_factory.mktemp("net") / "tiny.safetensors")


@pytest.fixture
def deconv(main, capsys, monkeypatch, tmp_path: Path):
    """Runs the tool in this process, in another folder, and reads what it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(layer: str, *args: object, warning: str = "") -> Output:
        options = ["--layer", layer, "--out", "out", *map(str, args)]
        command_line.run(main, options)
        out, err = capsys.readouterr()
        assert err == warning
        output = Output.of(tmp_path / "out", layer)
        assert out == (
            f"wrote {layer}.png, .json and .npz and filters.png to out: "
            f"{len(output.numbers['maps'])} of {3 if layer == 'fc8' else widths(layer)} maps, "
            f"{len(output.numbers['dead'])} dead\n"
        )
        return output

    return run


def widths(layer: str) -> int:
    return 16 if layer.startswith("fc") else WIDTH


def val_images(net: Net) -> np.ndarray:
    """The validation pictures as the net sees them, raw."""
    source = open_splits(net.config.data, net.config.seed).val
    frames = np.stack([decode(source[index].image, FRAME) for index in range(len(source))])
    return centre_view(frames, SIZE)


def network_space(net: Net, seen: np.ndarray) -> jax.Array:
    mean = centre_view(net.preprocessing.mean[None], SIZE)
    return jnp.float32(seen.astype(np.float32) - mean)


def assert_agree(output: Output, layer: str) -> None:
    """JSON and NPZ say the same, and of equal length."""
    floats, numbers = output.floats, output.numbers
    assert [each["map"] for each in numbers["maps"]] == floats["maps"].tolist()
    for row, each in enumerate(numbers["maps"]):
        filled = np.isfinite(floats["value"][row])
        assert each["dead"] == (not filled.any())
        assert len(each["top"]) == filled.sum()
        for col, unit in enumerate(each["top"]):
            for key in ("image", "row", "col", "value"):
                assert unit[key] == floats[key][row, col]
            assert unit["box"] == floats["boxes"][row, col].tolist()
            assert unit["scale"] == floats["scales"][row, col]
        values = [unit["value"] for unit in each["top"]]
        assert values == sorted(values, reverse=True)
        assert (floats["projections"][row][~filled] == 0).all()


def shows(picture: np.ndarray, tile: np.ndarray) -> bool:
    """Whether a picture holds a tile somewhere, enlarged by a whole number."""
    for factor in range(1, 11):
        large = tile.repeat(factor, axis=0).repeat(factor, axis=1)
        high, wide = large.shape[:2]
        if high > picture.shape[0] or wide > picture.shape[1]:
            return False
        rows, cols = picture.shape[0] - high + 1, picture.shape[1] - wide + 1
        fits = (picture[:rows, :cols] == large[0, 0]).all(axis=-1)
        for row, col in np.argwhere(fits):
            if (picture[row + high - 1, col : col + wide] == large[-1]).all() and (
                picture[row : row + high, col : col + wide] == large
            ).all():
                return True
    return False


# On the net's own validation set


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param("conv1", marks=pytest.mark.slow),
        "conv5",
        "norm1",
        pytest.param("pool2", marks=pytest.mark.slow),
        pytest.param("fc7", marks=pytest.mark.slow),
        "fc8",
    ],
)
def test_against_the_library(deconv, net_file: Path, layer):
    top = 4
    output = deconv(layer, "--ckpt", net_file, "--top", top, "--count", 100)
    assert_agree(output, layer)
    net = checkpoint.load(net_file)
    seen = val_images(net)
    _, trace = forward(net.architecture, net.params, network_space(net, seen))
    activations = np.asarray(trace.activations[layer])
    flat = activations.reshape(VAL, -1, activations.shape[-1])
    strongest = flat.max(axis=1)  # (images, maps)
    floats = output.floats
    assert sorted(floats["maps"]) == list(range(activations.shape[-1]))
    heights = strongest.max(axis=0)[floats["maps"]]
    assert (np.diff(heights) <= 1e-4 * np.abs(heights[1:])).all()  # the strongest map first
    spatial = activations.ndim == 4
    for row, number in enumerate(floats["maps"]):
        expected = np.sort(strongest[:, number])[::-1][:top]
        alive = (expected > 0) | (layer == "fc8")
        found = floats["value"][row]
        np.testing.assert_allclose(found[alive], expected[alive], rtol=1e-4, atol=1e-6)
        assert (np.isneginf(found) == ~alive).all()
        for col in np.flatnonzero(alive):
            image, r, c = (floats[key][row, col] for key in ("image", "row", "col"))
            unit = activations[image][r, c, number] if spatial else activations[image][number]
            assert found[col] == pytest.approx(unit, rel=1e-4, abs=1e-6)
            box = floats["boxes"][row, col].tolist()
            if spatial:
                assert box == list(net.architecture.receptive_field(layer).box(r, c))
                one = Units(*(np.array([each]) for each in (image, r, c, number)), np.array([unit]))
                patch, _ = deconvnet.project_units(net.architecture, net.params, trace, layer, one)
            else:
                assert box == [0, 0, SIZE, SIZE]
                seed = np.zeros_like(activations)
                seed[image, number] = unit
                patch = deconvnet.project(
                    net.architecture, net.params, trace, layer, jnp.asarray(seed)
                )[image][None]
            scale = np.abs(patch).max()
            np.testing.assert_allclose(
                floats["projections"][row, col], patch[0], rtol=1e-3, atol=1e-4 * scale
            )


def test_the_picture_shows_the_numbers(deconv, net_file: Path):
    output = deconv("conv5", "--ckpt", net_file, "--top", 4, "--count", 100)
    floats = output.floats
    for row in (0, 3):
        for col in np.flatnonzero(np.isfinite(floats["value"][row])):
            shares = floats["projections"][row, col] / floats["scales"][row, col]
            grey = np.round(np.clip(127.5 + 127.5 * shares, 0, 255)).astype(np.uint8)
            assert shows(output.picture, grey)


def test_a_dead_map_has_empty_places_and_is_said_to_be_dead(deconv, net_file: Path):
    output = deconv("conv5", "--ckpt", net_file, "--top", 4, "--maps", DEAD, 0)
    assert [each["map"] for each in output.numbers["maps"]] == [DEAD, 0]
    assert DEAD in output.numbers["dead"]
    dead, alive = output.numbers["maps"]
    assert (dead["dead"], dead["top"]) == (True, [])
    assert len(alive["top"]) == 4
    assert (output.floats["image"][0] == NO_IMAGE).all()
    missing = (output.picture == panels.MISSING).all(axis=-1)
    assert missing.sum() >= 2 * 4 * 84**2  # four projections and four patches


def test_negative_logits_are_not_dead(deconv, net_file: Path, tmp_path: Path):
    net = checkpoint.load(net_file)
    net.params["fc8"]["bias"] = np.float32([-9, 0, 0])
    weights.write(net, tmp_path / "low.safetensors", jnp.float32)
    output = deconv("fc8", "--ckpt", tmp_path / "low.safetensors", "--top", 2)
    assert output.numbers["dead"] == []
    assert not any(each["dead"] for each in output.numbers["maps"])
    low = next(each for each in output.numbers["maps"] if each["map"] == 0)
    assert low["top"][0]["value"] < 0


def test_scales(deconv, net_file: Path):
    """Of the magnitudes that are not 0, one in 200 is beyond black or white."""

    def clipping(projections: np.ndarray) -> float:
        return np.quantile(np.abs(projections[projections != 0]), 0.995)

    outputs = {
        scale: deconv("conv3", "--ckpt", net_file, "--top", 2, "--count", 3, "--scale", scale)
        for scale in ("shared", "map", "patch")
    }
    for scale, output in outputs.items():
        assert output.numbers["scale"] == scale
        projections, scales = output.floats["projections"], output.floats["scales"]
        for row, of_map in enumerate(projections):
            for col, patch in enumerate(of_map):
                of = {"shared": projections, "map": of_map, "patch": patch}[scale]
                assert scales[row, col] == pytest.approx(clipping(of), rel=1e-6)


def test_options_reach_the_projection(deconv, net_file: Path):
    common = ("conv5", "--ckpt", net_file, "--top", 2, "--count", 2)
    paper = deconv(*common)
    assert [paper.numbers[key] for key in ("unpool", "rectify", "norm")] == [
        "add",
        "signal",
        "skip",
    ]
    changed = {"unpool": "overwrite", "rectify": "mask", "norm": "gradient"}
    other = deconv(*common, *(f"--{name}={value}" for name, value in changed.items()))
    assert {name: other.numbers[name] for name in changed} == changed
    assert (other.floats["value"] == paper.floats["value"]).all()
    net = checkpoint.load(net_file)
    _, trace = forward(net.architecture, net.params, network_space(net, val_images(net)))
    for output, options in ((paper, {}), (other, changed)):
        floats = output.floats
        image, row, col, value = (floats[key][0] for key in ("image", "row", "col", "value"))
        units = Units(image, row, col, np.repeat(floats["maps"][0], len(image)), value)
        patches, _ = deconvnet.project_units(
            net.architecture, net.params, trace, "conv5", units, **options
        )
        expected = floats["projections"][0]
        np.testing.assert_allclose(patches, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert not np.allclose(other.floats["projections"], paper.floats["projections"])


def test_which_maps(deconv, net_file: Path):
    output = deconv("conv2", "--ckpt", net_file, "--count", 3, "--top", 1)
    strongest = output.floats["value"][:, 0]
    assert len(strongest) == 3
    assert (np.diff(strongest) <= 0).all()
    chosen = output.floats["maps"][[2, 0]].tolist()
    again = deconv("conv2", "--ckpt", net_file, "--maps", *chosen, "--top", 1)
    assert again.floats["maps"].tolist() == chosen
    np.testing.assert_array_equal(again.floats["value"][:, 0], strongest[[2, 0]])


# On pictures that are named


def test_files_and_folders(deconv, net_file: Path, picture_folder: Path, tmp_path: Path):
    folder = tmp_path / "mine <b>&'é"
    (folder / "inside").mkdir(parents=True)
    first = folder / "1 <script>.png"
    shutil.copy(picture_folder / "red" / "00.png", first)
    shutil.copy(picture_folder / "blue" / "01.png", folder / "inside" / "zwei ü.png")
    shutil.copy(picture_folder / "green" / "02.png", folder / "not.txt")
    (folder / "damaged.png").write_bytes(first.read_bytes()[:300])
    single = picture_folder / "green" / "03.png"
    warning = (
        "warning: skipped 1 files, such as damaged.png: damaged PNG file: image file is truncated\n"
    )
    options = ("--ckpt", net_file, "--images", single, folder, "--count", 100)
    output = deconv("conv4", *options, warning=warning)
    assert_agree(output, "conv4")
    assert output.numbers["images"] == [str(single), str(folder)]
    assert [skip["name"] for skip in output.numbers["skipped"]] == ["damaged.png"]
    assert output.floats["value"].shape == (WIDTH, 3)  # never more than there are pictures
    names = {}
    for each in output.numbers["maps"]:
        for unit in each["top"]:
            names[unit["image"]] = unit["name"]
            assert unit["label"] is None
    assert names == {
        0: str(single),
        1: str(first),
        2: str(folder / "inside" / "zwei ü.png"),
    }


def test_own_validation_set_has_labels_and_names(deconv, net_file: Path):
    output = deconv("conv1", "--ckpt", net_file, "--top", 2)
    assert output.numbers["images"].startswith("folder:")
    for each in output.numbers["maps"]:
        for unit in each["top"]:
            label, _, file = unit["name"].partition("/")
            assert unit["label"] == label
            assert file.endswith(".png")


def test_the_patches_are_the_pictures_own_pixels(deconv, net_file: Path):
    output = deconv("conv3", "--ckpt", net_file, "--top", 2, "--count", 1)
    seen = val_images(checkpoint.load(net_file))
    image, (top, left, high, wide) = output.floats["image"][0, 0], output.floats["boxes"][0, 0]
    inside = np.full((high, wide, 3), OUTSIDE, np.uint8)
    rows, cols = np.arange(high) + top, np.arange(wide) + left
    within = ((rows >= 0) & (rows < SIZE))[:, None] & ((cols >= 0) & (cols < SIZE))
    inside[within] = seen[image][rows.clip(0, SIZE - 1)][:, cols.clip(0, SIZE - 1)][within]
    assert shows(output.picture, inside)


def test_one_picture_is_shown_large(deconv, net_file: Path, picture_folder: Path):
    picture = picture_folder / "red" / "00.png"
    output = deconv("conv5", "--ckpt", net_file, "--images", picture, "--count", 1)
    assert output.floats["projections"].shape[:2] == (1, 1)
    assert output.picture.shape[1] > 400


# What a user can get wrong


def failure(main, capsys, *args: object) -> str:
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, [str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    return err


def test_wrong_options(main, capsys, monkeypatch, net_file: Path, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    cut, note, picture = (tmp_path / name for name in ("cut.safetensors", "a <b>.png", "file"))
    cut.write_bytes(net_file.read_bytes()[:-100])
    note.write_text("no picture")
    picture.write_text("a file")
    (tmp_path / "empty").mkdir()
    before = files_below(tmp_path)
    good = ("--ckpt", net_file)
    for args, said in (
        ((), "--ckpt"),
        (("--ckpt", "nowhere"), "checkpoint nowhere: expected a run's folder"),
        (("--ckpt", "nowhere.safetensors"), "expected a file, there is none"),
        (("--ckpt", cut), f"checkpoint {cut}: damaged"),
        ((*good, "--layer", "conv9"), "layer 'conv9': expected one of conv1, pool1, norm1, conv2"),
        ((*good, "--maps", 1, 8), "map 8: expected 0..7, conv5 has 8 maps"),
        ((*good, "--maps", -1), "map -1: expected 0..7"),
        ((*good, "--layer", "fc8", "--maps", 3), "map 3: expected 0..2, fc8 has 3 maps"),
        ((*good, "--top", 0), "--top 0: expected 1 or more"),
        ((*good, "--count", 0), "--count 0: expected 1 or more"),
        ((*good, "--batch-size", 0), "--batch-size 0: expected 1 or more"),
        ((*good, "--scale", "best"), "--scale"),
        ((*good, "--images", note), f"{note}: not a picture in a known format"),
        ((*good, "--images", "gone.png"), "gone.png: expected a picture or a folder"),
        ((*good, "--images", "empty"), "empty: expected at least one readable picture"),
        ((*good, "--out", picture), "expected a folder, it is a file"),
        ((*good, "--img", note), "--img"),
    ):
        assert said in failure(main, capsys, *args)
    assert files_below(tmp_path) == before


def test_the_data_set_is_gone(main, capsys, monkeypatch, tmp_path: Path):
    """Photographs that come with Python packages are looked at instead."""
    monkeypatch.chdir(tmp_path)
    path = write_net(random_net(f"folder:{tmp_path / 'gone'}"), tmp_path / "tiny.safetensors")
    command_line.run(main, ["--ckpt", str(path), "--out", "out"])
    taken, unlabelled, wrote = capsys.readouterr().out.splitlines()
    assert "photographs that come with Python packages are taken; --images" in taken
    assert "the classes that it sees in them may not fit" in unlabelled
    assert wrote.startswith("wrote conv5.png")


# Where it writes


def test_a_run_s_default_folder(main, capsys, monkeypatch, untrained: Path, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(untrained, tmp_path / "run é")
    command_line.run(main, ["--ckpt", str(run)])
    out = capsys.readouterr().out
    assert out.startswith("wrote conv5.png, .json and .npz and filters.png to ")
    assert out.count("\n") == 1
    output = Output.of(run / "deconv", "conv5")
    assert output.numbers["step"] == STEP
    assert output.floats["value"].shape == (WIDTH, 9)
