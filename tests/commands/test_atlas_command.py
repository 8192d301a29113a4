"""The atlas command on a run of nets of random weights."""

import contextlib
import io
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from command_runs import PICTURES, VAL, Finished, Zfnet, trace_of
from conftest import ROOT
from filelock import FileLock
from PIL import Image
from tiny_nets import CLASSES, WIDTH

from zfnet_jax.commands import atlas as atlas_command
from zfnet_jax.commands import command_line
from zfnet_jax.data.splits import open_splits
from zfnet_jax.features import image_set_mining
from zfnet_jax.report import atlas as atlas_report
from zfnet_jax.training import checkpoint, run_folder

pytest_plugins = ["tiny_runs"]

CONVS = ["conv1", "conv2", "conv5"]


@pytest.fixture(scope="module")
def atlas(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of some layers with all that it can have; treat it as read-only."""
    out = tmp_path_factory.mktemp("atlases") / "atlas"
    options = ("--layers", *CONVS, "fc8", "--top", 4, "--raw", "--control", "wrong-unit")
    args = ("--ckpt", untrained, "--out", out, *options)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        command_line.run(atlas_command.main, list(map(str, args)))
    assert said.getvalue().startswith(f"wrote {out}: open {out / 'index.html'}; 27 maps, ")
    assert sorted(path.name for path in out.parent.iterdir()) == ["atlas"]  # nothing is left over
    return out


@pytest.fixture(scope="module")
def described(atlas: Path) -> dict:
    return json.loads((atlas / "atlas.json").read_text())


@pytest.fixture
def make(main, capsys, monkeypatch, untrained: Path, tmp_path: Path):
    """Makes an atlas without strips in this process and another folder: its code and texts."""
    monkeypatch.chdir(tmp_path)

    def run(*options: object) -> tuple[int, str, str]:
        args = ("--ckpt", untrained, "--no-evolution", "--out", "atlas", *options)
        code = 0
        try:
            command_line.run(main, list(map(str, args)))
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_every_map_has_its_strongest_images(untrained: Path, described: dict):
    net = checkpoint.load(untrained)
    val = open_splits(net.config.data, net.config.seed).val
    trace = trace_of(net, val)
    assert described["images"] == VAL
    assert len(described["units"]) == 3 * WIDTH + len(CLASSES)
    seen = dict.fromkeys([*CONVS, "fc8"], 0)
    for unit in described["units"]:
        layer, number = unit["layer"], unit["map"]
        assert number == seen[layer]
        seen[layer] += 1
        maps = np.asarray(trace.activations[layer])[..., number].reshape(VAL, -1)
        best = maps.max(axis=1)
        order = [i for i in np.lexsort((np.arange(VAL), -best)) if best[i] > 0 or layer == "fc8"][
            :4
        ]
        assert unit["dead"] == (not order)
        assert [entry["image"] for entry in unit["top"]] == order
        assert sum(unit["histogram"]) == VAL
        for entry in unit["top"]:
            example = val[entry["image"]]
            assert entry["value"] == pytest.approx(best[entry["image"]], rel=1e-4)
            assert (entry["name"], entry["label"]) == (example.name, val.class_names[example.label])
            field = net.architecture.receptive_field(layer) if layer != "fc8" else None
            place = (entry["row"], entry["col"])
            assert entry["box"] == list(field.box(*place) if field else (0, 0, 32, 32))
            if field:
                cols = trace.activations[layer].shape[2]
                assert maps[entry["image"]].argmax() == place[0] * cols + place[1]
    assert seen == {**dict.fromkeys(CONVS, 8), "fc8": 3}


def test_every_unit_has_a_page_and_its_pictures(atlas: Path, described: dict):
    for unit in described["units"]:
        page = atlas / "units" / unit["layer"] / f"{unit['map']:03}.html"
        assert page.is_file()
        for kind in ("projections", "patches", "control"):
            picture = page.with_name(f"{unit['map']:03}-{kind}.webp")
            assert picture.exists() != unit["dead"]
    raw = np.load(atlas / "raw" / "conv2.npy")
    assert raw.shape[:2] == (8, 4)
    assert raw.dtype == np.float32
    images = {entry["image"] for unit in described["units"] for entry in unit["top"]}
    assert len(list((atlas / "images").iterdir())) == len(images)


def test_the_figures(atlas: Path):
    for number in (1, 2, 5):
        with Image.open(atlas / f"fig2_layer{number}.png") as picture:
            assert min(picture.size) > 100
    assert (atlas / "curves.png").is_file()


def test_the_strip_of_a_unit_shows_the_snapshots(untrained: Path, atlas: Path, described: dict):
    epochs = len(run_folder.snapshots(untrained))
    for unit in described["units"]:
        strip = atlas / "units" / unit["layer"] / f"{unit['map']:03}-evolution.webp"
        assert strip.exists() == (unit["layer"] in CONVS)
        if strip.exists():
            with Image.open(strip) as picture:
                assert picture.width == epochs * picture.height


def test_two_atlases_do_not_go_into_one_folder(main, tmp_path: Path):
    out = tmp_path / "atlas"
    with FileLock(tmp_path / ".atlas.lock"):
        with pytest.raises(ValueError, match=r"atlas: another process is writing to it; expected"):
            main(Path("nowhere"), out=out)
        assert [path.name for path in tmp_path.iterdir()] == [".atlas.lock"]


def test_an_existing_folder_is_refused_and_overwritten(make):
    Path("atlas").mkdir()
    Path("atlas", "mine.txt").write_text("mine")
    error = "error: atlas: exists; expected another --out, or --overwrite\n"
    assert make("--layers", "conv1") == (2, "", error)
    assert Path("atlas", "mine.txt").exists()
    code, _, err = make("--layers", "conv1", "--overwrite")
    assert (code, err) == (0, "")
    assert not Path("atlas", "mine.txt").exists()
    assert Path("atlas", "index.html").exists()


def test_fewer_pictures_than_tiles(make, picture_folder: Path):
    pictures = sorted((picture_folder / "red").iterdir())[:2]
    code, out, err = make("--layers", "conv1", "conv2", "--images", *pictures)
    assert (code, err) == (0, "")
    assert "2 pictures are fewer than --top 9: no map shows more than that" in out
    units = json.loads(Path("atlas", "atlas.json").read_text())["units"]
    assert max(len(unit["top"]) for unit in units) == 2
    index = Path("atlas", "index.html").read_text()
    assert "fewer than the 9 strongest of a map" in index
    assert "--side:2;--rows:1" in index  # no places that no picture can fill
    full = next(unit for unit in units if len(unit["top"]) == 2)
    page = Path("atlas", "units", full["layer"], f"{full['map']:03}.html").read_text()
    assert "2 instead of 9: there are no more pictures" in page


def test_the_index_has_no_top_5(atlas: Path):
    assert "validation top-1 50.0%" in (atlas / "index.html").read_text()
    assert "top-5" not in (atlas / "index.html").read_text()


def test_pictures_that_have_gone(make, monkeypatch, picture_folder: Path, tmp_path: Path):
    """The scan is fresh, and two files go while the first batch is read."""
    copied = shutil.copytree(picture_folder, tmp_path / "pictures")
    open_images = atlas_command.open_images

    def open_and_lose(*args):
        opened = open_images(*args)
        for name in ("00.png", "01.png"):
            (copied / "red" / name).unlink()
        return opened

    monkeypatch.setattr(atlas_command, "open_images", open_and_lose)
    code, _, err = make("--layers", "conv2", "--images", copied)
    assert code == 2
    assert err.startswith(f"error: 2 of {PICTURES} pictures are gone since ")
    assert "red/00.png" in err
    assert err.count("\n") == 1
    assert not Path("atlas").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(zfnet: Zfnet, finished: Finished, tmp_path: Path):
    script = """
import resource
from zfnet_jax.commands import atlas
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
atlas.run()
"""
    out = tmp_path / "atlas"
    args = ("--ckpt", finished.run, "--layers", "conv5", "--no-evolution", "--out", out)
    done = zfnet.run("-c", script, *args)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".atlas.mining.npz"]


def test_terminated_while_projecting_it_leaves_what_was_mined(make, monkeypatch, tmp_path: Path):
    project = atlas_report.project_units_to_files

    def project_and_stop(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return project(*args, **options)

    monkeypatch.setattr(atlas_report, "project_units_to_files", project_and_stop)
    assert make("--layers", "conv5") == (128 + signal.SIGTERM, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [".atlas.mining.npz"]


def test_stopped_it_goes_on(make, monkeypatch, atlas: Path, tmp_path: Path):
    options = ("--layers", *CONVS, "--top", 4, "--batch-size", 8)
    mine = image_set_mining.mining.mine

    def mine_and_stop(*args, **options):
        statistics = mine(*args, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return statistics

    with monkeypatch.context() as patch:
        patch.setattr(image_set_mining, "SAVE_EVERY", 1)
        patch.setattr(image_set_mining.mining, "mine", mine_and_stop)
        code, out, _ = make(*options)
    assert code == 128 + signal.SIGTERM
    assert out.startswith("stopped and saved; the same command goes on")
    assert [path.name for path in tmp_path.iterdir()] == [".atlas.mining.npz"]
    code, _, err = make(*options)
    assert (code, err) == (0, "")
    made, whole = (
        json.loads((folder / "atlas.json").read_text())["units"]
        for folder in (tmp_path / "atlas", atlas)
    )
    assert len(made) == 3 * WIDTH
    for one, other in zip(made, whole[: len(made)], strict=True):
        assert [unit["image"] for unit in one["top"]] == [unit["image"] for unit in other["top"]]
        assert one["histogram"] == other["histogram"]


@pytest.mark.slow
def test_by_its_door(zfnet: Zfnet, finished: Finished, tmp_path: Path):
    """A trained run, in a process of its own, as tools/ and the docs say."""
    out = tmp_path / "atlas"
    done = zfnet.run(ROOT / "tools" / "atlas.py", "--ckpt", finished.run, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"wrote {out}: open ")
    units = json.loads((out / "atlas.json").read_text())["units"]
    layers = dict.fromkeys(unit["layer"] for unit in units)
    assert list(layers) == [*(f"conv{number}" for number in range(1, 6)), "fc8"]
