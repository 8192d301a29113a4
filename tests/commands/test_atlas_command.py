"""tools/atlas.py and tools/evolution.py, as a user runs them, on the tiny run."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_runs import PICTURES, VAL, Finished, Zfnet, trace_of
from conftest import ROOT
from filelock import FileLock
from PIL import Image

from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.zfnet.architecture import Conv

pytest_plugins = ["tiny_runs"]

ATLAS, EVOLUTION = (ROOT / "tools" / name for name in ("atlas.py", "evolution.py"))
CONVS = [f"conv{n}" for n in range(1, 6)]


def run(place: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, args)], cwd=place, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def atlas(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of everything, made from another folder; treat it as read-only."""
    out = tmp_path_factory.mktemp("atlases") / "atlas"
    done = run(
        out.parent,
        *(ATLAS, "--ckpt", finished.run, "--out", out, "--top", 4, "--raw"),
        *("--control", "wrong-unit"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"wrote {out}: open {out / 'index.html'}; 43 maps, ")
    assert sorted(path.name for path in out.parent.iterdir()) == ["atlas"]  # nothing is left over
    return out


@pytest.fixture(scope="module")
def described(atlas: Path) -> dict:
    return json.loads((atlas / "atlas.json").read_text())


def test_every_map_has_its_strongest_images(finished: Finished, described: dict):
    net = checkpoint.load(finished.run)
    val = open_splits(net.config.data, net.config.seed).val
    trace = trace_of(net, val)
    assert described["images"] == VAL
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
    raw = np.load(atlas / "raw" / "conv3.npy")
    assert raw.shape[:2] == (8, 4)
    assert raw.dtype == np.float32
    images = {entry["image"] for unit in described["units"] for entry in unit["top"]}
    assert len(list((atlas / "images").iterdir())) == len(images)


def test_the_figures(atlas: Path):
    for number in range(1, 6):
        with Image.open(atlas / f"fig2_layer{number}.png") as picture:
            assert min(picture.size) > 100
    assert (atlas / "curves.png").is_file()


def test_the_strip_of_a_unit_shows_the_snapshots(finished: Finished, atlas: Path, described: dict):
    epochs = len(run_folder.snapshots(finished.run))
    for unit in described["units"]:
        strip = atlas / "units" / unit["layer"] / f"{unit['map']:03}-evolution.webp"
        assert strip.exists() == (unit["layer"] in CONVS)
        if strip.exists():
            with Image.open(strip) as picture:
                assert picture.width == epochs * picture.height


def test_two_atlases_do_not_go_into_one_folder(tmp_path: Path, main: Callable[..., None]):
    out = tmp_path / "atlas"
    with FileLock(tmp_path / ".atlas.lock"):
        with pytest.raises(ValueError, match=r"atlas: another process is writing to it; expected"):
            main(Path("nowhere"), out=out)
        assert [path.name for path in tmp_path.iterdir()] == [".atlas.lock"]


def test_an_existing_folder_is_refused_and_overwritten(finished: Finished, tmp_path: Path):
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "mine.txt").write_text("mine")
    args = (ATLAS, "--ckpt", finished.run, "--layers", "conv1", "--no-evolution", "--out", "atlas")
    done = run(tmp_path, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: atlas: exists; expected another --out, or --overwrite\n"
    assert (tmp_path / "atlas" / "mine.txt").exists()
    done = run(tmp_path, *args, "--overwrite")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "atlas" / "mine.txt").exists()
    assert (tmp_path / "atlas" / "index.html").exists()


def test_fewer_pictures_than_tiles(finished: Finished, picture_folder: Path, tmp_path: Path):
    pictures = sorted((picture_folder / "red").iterdir())[:2]
    done = run(
        tmp_path,
        *(ATLAS, "--ckpt", finished.run, "--layers", "conv2", "--no-evolution"),
        *("--out", "atlas", "--images", *pictures),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 pictures are fewer than --top 9: no map shows more than that" in done.stdout
    units = json.loads((tmp_path / "atlas" / "atlas.json").read_text())["units"]
    assert max(len(unit["top"]) for unit in units) == 2
    assert "fewer than the 9 strongest of a map" in (tmp_path / "atlas/index.html").read_text()
    full = next(unit["map"] for unit in units if len(unit["top"]) == 2)
    page = (tmp_path / f"atlas/units/conv2/{full:03}.html").read_text()
    assert "2 instead of 9: there are no more pictures" in page


def test_pictures_that_have_gone(zfnet: Zfnet, picture_folder: Path, finished, tmp_path: Path):
    """The scan is fresh, and two files go while the first batch is read."""
    copied = shutil.copytree(picture_folder, tmp_path / "pictures")
    script = f"""
from pathlib import Path
from zfnet_jax.commands import atlas
open_images = atlas.open_images
def open_and_lose(net, images):
    opened = open_images(net, images)
    for name in ("00.png", "01.png"):
        Path({str(copied)!r}, "red", name).unlink()
    return opened
atlas.open_images = open_and_lose
atlas.run()
"""
    done = run(
        tmp_path,
        *("-c", script, "--ckpt", finished.run, "--layers", "conv2", "--no-evolution"),
        *("--out", "atlas", "--images", copied),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: 2 of {PICTURES} pictures are gone since ")
    assert "red/00.png" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "atlas").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(finished: Finished, tmp_path: Path):
    script = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sys.argv[0] = {str(ATLAS)!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    done = run(
        tmp_path,
        *("-c", script, "--ckpt", finished.run, "--layers", "conv5", "--no-evolution"),
        *("--out", "atlas"),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".atlas.mining.npz"]


def test_terminated_while_projecting_it_leaves_what_was_mined(finished: Finished, tmp_path: Path):
    script = """
import os, signal, sys
from zfnet_jax.commands import atlas
from zfnet_jax.features import top_units
top_units.project_all = lambda *args, **options: os.kill(os.getpid(), signal.SIGTERM)
atlas.run()
"""
    done = run(
        tmp_path,
        *("-c", script, "--ckpt", finished.run, "--layers", "conv5", "--no-evolution"),
        *("--out", "atlas"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [".atlas.mining.npz"]


@pytest.mark.slow
def test_stopped_it_goes_on(finished: Finished, atlas: Path, tmp_path: Path):
    script = """
import os, signal, sys
from zfnet_jax.commands import atlas
from zfnet_jax.features import top_units
top_units.SAVE_EVERY = 1
mine = top_units.mining.mine
def mine_and_stop(*args, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    return mine(*args, **options)
if "--stop" in sys.argv:
    sys.argv.remove("--stop")
    top_units.mining.mine = mine_and_stop
atlas.run()
"""
    args = (
        *("-c", script, "--ckpt", finished.run, "--layers", *CONVS, "--no-evolution"),
        *("--top", 4, "--batch-size", 8, "--out", "atlas"),
    )
    stopped = run(tmp_path, *args, "--stop")
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert stopped.stdout.startswith("stopped and saved; the same command goes on")
    assert [path.name for path in tmp_path.iterdir()] == [".atlas.mining.npz"]
    done = run(tmp_path, *args)
    assert (done.returncode, done.stderr) == (0, "")
    made, whole = (
        json.loads((place / "atlas.json").read_text())["units"]
        for place in (tmp_path / "atlas", atlas)
    )
    for one, other in zip(made, whole, strict=False):
        assert [entry["image"] for entry in one["top"]] == [e["image"] for e in other["top"]]
        assert one["histogram"] == other["histogram"]


def test_evolution(finished: Finished, tmp_path: Path):
    done = run(tmp_path, EVOLUTION, "--ckpt", finished.run, "--out", "fig4", "--maps", 3)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote evolution.png, .json and .npz to fig4: " in done.stdout
    described = json.loads((tmp_path / "fig4" / "evolution.json").read_text())
    assert described["epochs"] == list(run_folder.snapshots(finished.run))
    net = checkpoint.load(finished.run)
    train = open_splits(net.config.data, net.config.seed).train
    arrays = np.load(tmp_path / "fig4" / "evolution.npz")
    assert sorted(arrays) == sorted(
        each.name for each in net.architecture if isinstance(each, Conv)
    )
    for place, path in enumerate(run_folder.snapshots(finished.run).values()):
        trace = trace_of(checkpoint.load(path), train)
        for row in described["maps"]:
            maps = np.asarray(trace.activations[row["layer"]])[..., row["map"]]
            strongest = row["strongest"][place]
            if strongest is None:
                assert maps.max() <= 0
            else:
                assert strongest["value"] == pytest.approx(maps.max(), rel=1e-4)


def test_evolution_without_snapshots(tmp_path: Path):
    done = run(tmp_path, EVOLUTION, "--ckpt", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'snapshots'}: expected the snapshots of ")
    assert done.stderr.count("\n") == 1
