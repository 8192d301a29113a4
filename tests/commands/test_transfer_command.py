import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import Zfnet, each_step_once, lines_of
from conftest import ROOT, random_params
from PIL import Image
from voc_files import write_voc

from zfnet_jax.commands import class_split, command_line
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.experiments.record import FILE
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint
from zfnet_jax.zfnet.architecture import ZFNET_SMALL

SIZE, FRAME, BATCH, PICTURES = 32, 37, 8, 14
COLOURS = {
    "blue": (60, 80, 180),
    "green": (60, 170, 80),
    "grey": (120, 120, 120),
    "red": (180, 70, 60),
}
TOOLS = ROOT / "tools"

RECIPE = """
from zfnet_jax.config import DataConfig, LoopConfig, OptimizerConfig, TrainConfig

def get_config():
    return TrainConfig(
        init="he",
        data=DataConfig(source="folder:elsewhere", threads=2),
        optimizer=OptimizerConfig(learning_rate=0.02, schedule="cosine"),
        train=LoopConfig(epochs=3, batch_size=8),
    )
"""

# Kills itself at the moment that a part was kept, or a checkpoint of training.
KILLED = """
import os, runpy, signal, sys
from zfnet_jax.training.checkpoint import Checkpoints
from zfnet_jax.experiments.record import Record

kind, method = {"part": (Record, "add"), "checkpoint": (Checkpoints, "save")}[sys.argv[2]]
kept, left, number = getattr(kind, method), int(sys.argv[3]), int(sys.argv[4])

def counted(*args, **named):
    global left
    kept(*args, **named)
    left -= 1
    if not left:
        os.kill(os.getpid(), number)

setattr(kind, method, counted)
sys.argv = [sys.argv[1], *sys.argv[5:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of four colours."""
    root, rng = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(PICTURES):
            pixels = rng.normal(colour, 30, (40, 44, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small net of random weights, of which one class is called like one of the pictures'."""
    widths = {f"conv{n}": 6 for n in range(1, 6)} | {"fc6": 8, "fc7": 8}
    arch = ZFNET_SMALL.with_features(**widths).at(SIZE)
    params, names = random_params(arch, 2), ("apple", "grey")
    params["conv1"]["kernel"] /= 60
    mean = np.full((FRAME, FRAME, 3), 120, np.float32)
    net = Net(arch, params, Preprocessing(FRAME, mean), names, 1)
    path = tmp_path_factory.mktemp("net") / "small.safetensors"
    weights.write(net, path, jnp.float32)
    return path


def options(net_file: Path, pictures: Path, out: Path) -> list[str]:
    given = ("--ckpt", net_file, "--source", f"folder:{pictures}", "--out", out)
    return [*map(str, given), "--counts", "1", "4", "--folds", "2", "--test", "6"]


@pytest.mark.slow
def test_transfer(main, net_file, pictures, tmp_path, capsys):
    command_line.run(main, options(net_file, pictures, tmp_path / "out"))
    said, warned = capsys.readouterr()
    assert "1 of 4 classes are the net's own by name, such as grey" in warned
    assert said.splitlines()[-1].startswith("wrote transfer.png, .md and .json to ")
    assert said.splitlines()[-1].endswith(": 4 parts")
    found = json.loads((tmp_path / "out/transfer.json").read_text())
    assert found["shared_classes"] == ["grey"]
    assert [(row["n"], row["folds"]) for row in found["table"]] == [(1, 2), (4, 2)]
    assert found["table"][1]["mean"] > 0.6  # by chance 0.25
    assert found["parts"][3]["test"] == 24
    text = (tmp_path / "out/transfer.md").read_text()
    assert text in said
    assert f"{100 * found['table'][1]['mean']:.1f} ± " in text
    with Image.open(tmp_path / "out/transfer.png") as picture:
        assert min(picture.size) > 400

    # The other net's classes alone, in the same folder: another experiment.
    with pytest.raises(SystemExit) as stop:
        command_line.run(
            main, [*options(net_file, pictures, tmp_path / "out"), "--classes", "unseen"]
        )
    assert stop.value.code == 2
    assert "expected the same, or another --out" in capsys.readouterr().err
    other = options(net_file, pictures, tmp_path / "other")
    command_line.run(main, [*other, "--classes", "unseen", "--c", "1"])
    assert capsys.readouterr().err == ""
    found = json.loads((tmp_path / "other/transfer.json").read_text())
    assert found["classes"] == ["blue", "green", "red"]
    assert {each["c"] for each in found["parts"]} == {1}

    # Without some pictures: fewer to train and test on, and another experiment.
    without = "--exclude", str(tmp_path / "exclude.txt")
    Path(without[1]).write_text("red/00.png\nred/01.png\n")
    with pytest.raises(SystemExit):
        command_line.run(main, [*other, "--classes", "unseen", "--c", "1", *without])
    assert "error: pictures " in capsys.readouterr().err
    fewer = options(net_file, pictures, tmp_path / "fewer")
    command_line.run(main, [*fewer, "--classes", "unseen", "--c", "1", *without])
    found = json.loads((tmp_path / "fewer/transfer.json").read_text())
    assert (found["images"], found["exclude"]) == (3 * PICTURES - 2, without[1])


def test_short_classes(main, net_file, pictures, tmp_path, capsys):
    some = shutil.copytree(pictures, tmp_path / "some")
    for number in range(5, PICTURES):
        (some / f"red/{number:02}.png").unlink()
    given = [*options(net_file, some, tmp_path / "out"), "--counts", "2", "6"]
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, given)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "error: too few pictures in red (5): expected at least 7 in every class" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    command_line.run(main, [*given, "--short-classes", "leave-out"])
    assert "left out at 6 a class, too few pictures: red (5)" in capsys.readouterr().out
    found = json.loads((tmp_path / "out/transfer.json").read_text())
    assert found["left_out"] == {"6": [{"name": "red", "pictures": 5}]}
    assert [row["classes"] for row in found["table"]] == [4, 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--counts", "0"), "--counts 0: expected 1 or more"),
        (("--folds", "0"), "--folds 0: expected 1 or more"),
        (("--c", "0"), "--c 0.0: expected a number above 0"),
        (("--seed", "-1"), "--seed -1: expected 0 or more"),
        (("--scratch-counts", "5", "6"), "--scratch-counts 5 6: expected none without --scratch"),
        (("--scratch-folds", "2"), "--scratch-folds 2: expected none without --scratch-config"),
        (("--scratch-config", "x", "--scratch-counts", "0"), "--scratch-counts 0: expected 1 or"),
        (("--layer", "fc8"), "layer 'fc8': expected one of conv1, "),
        (("--source", "voc:nowhere"), "expected none with voc:PATH"),
        (("--source", "folder:nowhere"), "nowhere does not exist"),
        (("--scratch-config", "nowhere.py"), "config nowhere.py: expected a Python file"),
    ],
)
def test_what_cannot_be(main, net_file, pictures, tmp_path, capsys, given, message):
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, [*options(net_file, pictures, tmp_path / "out"), *given])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--scratch-config", "recipe.py"), "--scratch-config recipe.py: expected none with voc"),
        (("--counts", "5"), "--counts 5: expected none with voc:PATH"),
        (("--classes", "unseen"), "--classes unseen: expected none with voc:PATH"),
        (("--exclude", "x.txt"), "--exclude x.txt: expected none with voc:PATH"),
        ((), "expected the folder VOC2012 as distributed"),
    ],
)
def test_what_cannot_be_with_voc(main, net_file, tmp_path, capsys, given, message):
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, ["--ckpt", str(net_file), "--source", "voc:nowhere", *given])
    assert (stop.value.code, message in capsys.readouterr().err) == (2, True)


def test_a_net_without_hidden_dense_layers(main, net_file, pictures, tmp_path, capsys):
    net = checkpoint.load(net_file)
    arch = net.architecture.without("fc6", "fc7")
    path = tmp_path / "small.safetensors"
    weights.write(replace(net, architecture=arch, params=random_params(arch, 2)), path)
    command_line.run(main, [*options(path, pictures, tmp_path / "out"), "--c", "1", "--folds", "1"])
    found = json.loads((tmp_path / "out/transfer.json").read_text())
    assert found["reading"]["layer"] == "conv5"
    assert all("jax" in each["hardware"] for each in found["parts"])


@pytest.mark.slow
def test_killed_anywhere_it_goes_on(net_file, pictures, tmp_path):
    (tmp_path / "recipe.py").write_text(RECIPE)
    zfnet, out, tool = Zfnet(tmp_path, tmp_path / "recipe.py"), tmp_path / "out", TOOLS
    given = options(net_file, pictures, out)
    given += ["--scratch-config", str(zfnet.config), "--scratch-counts", "4", "--classes", "unseen"]

    def killed(moment: str, count: int, number: int = signal.SIGKILL) -> list[dict]:
        result = zfnet.run("-c", KILLED, tool / "transfer.py", moment, count, int(number), *given)
        assert result.returncode in (-signal.SIGKILL, 128 + signal.SIGTERM), result.stderr
        assert not (out / "transfer.json").exists()
        return json.loads((out / FILE).read_text())["parts"]

    first = killed("part", 3)
    second = killed("checkpoint", 2)  # in the first of the two trainings from scratch
    third = killed("checkpoint", 3, signal.SIGTERM)  # in the second, asked
    assert [len(parts) for parts in (first, second, third)] == [3, 4, 5]
    result = zfnet.run(tool / "transfer.py", *given)
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads((out / "transfer.json").read_text())
    last = found["parts"]
    assert len(last) == 6
    for parts in (first, second, third):  # their seconds too: nothing was done again
        assert last[: len(parts)] == parts
    assert [(row["model"], row["n"]) for row in found["table"]] == [
        ("pre-trained", 1),
        ("pre-trained", 4),
        ("from scratch", 4),
    ]
    for fold in range(2):
        run = out / f"scratch/n4_fold{fold}"
        assert each_step_once(run)
        assert max(line["step"] for line in lines_of(run)) == 3  # 12 pictures, 8 a step, 3 epochs
        net = checkpoint.load(run)
        assert net.class_names == ("blue", "green", "red")
        assert net.config.seed == fold
        listed = [
            (out / f"scratch/n4_fold{fold}_{which}.txt").read_text().splitlines()
            for which in ("train", "val")
        ]
        assert len(listed[0]) == 12
        assert not set(listed[0]) & set(listed[1])
        assert sorted(name.split("/")[0] for name in listed[1]) == ["blue", "green", "red"]


def test_voc(main, net_file, tmp_path, capsys):
    root = write_voc(tmp_path / "VOC2012")
    given = ["--ckpt", str(net_file), "--source", f"voc:{root}", "--out", str(tmp_path / "out")]
    command_line.run(main, [*given, "--c", "1"])
    assert capsys.readouterr().out.endswith(
        f"wrote voc.png, .md and .json to {tmp_path / 'out'}: 6 pictures\n"
    )
    found = json.loads((tmp_path / "out/voc.json").read_text())
    assert (found["train"], found["val"]) == (4, 2)
    precisions = found["average_precision"]
    assert precisions["dog"] == 1
    assert precisions["cat"] in (0.5, 1)
    assert precisions["sofa"] is None

    # Once more: nothing is computed again, and nothing changes.
    before = (tmp_path / "out/voc.json").read_bytes()
    shutil.rmtree(tmp_path / "out/features")
    command_line.run(main, [*given, "--c", "1"])
    assert (tmp_path / "out/voc.json").read_bytes() == before
    assert not (tmp_path / "out/features").exists()
    # Other marks on the same pictures are another experiment.
    marks = root / "ImageSets/Main/sofa_train.txt"
    marks.write_text(marks.read_text().replace("-1", " 1", 1))
    with pytest.raises(SystemExit):
        command_line.run(main, [*given, "--c", "1"])
    assert "present " in capsys.readouterr().err


def test_the_two_halves_of_a_class_split(pictures, tmp_path, capsys):
    main = class_split.main
    halves = []
    for half in ("0", "1"):
        out = tmp_path / half
        given = ["--source", f"folder:{pictures}", "--out", str(out), "--half", half]
        command_line.run(main, given)
        assert "2 of 4 classes" in capsys.readouterr().out
        lists = [(out / f"{name}.txt").read_text().splitlines() for name in ("train", "val")]
        assert not set(lists[0]) & set(lists[1])
        assert len(lists[0] + lists[1]) == 2 * PICTURES
        classes = (out / "classes.txt").read_text().splitlines()
        assert {name.split("/")[0] for name in lists[0] + lists[1]} == set(classes)
        halves.append(set(classes))
    assert halves[0] | halves[1] == set(COLOURS)
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, ["--source", "shapes", "--out", str(tmp_path / "x")])
    assert stop.value.code == 2
    assert "--source shapes: expected folder:PATH" in capsys.readouterr().err
