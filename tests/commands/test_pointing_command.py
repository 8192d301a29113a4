import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_nets import random_net, write_net

from zfnet_jax.analysis.pointing import Pointing
from zfnet_jax.commands import command_line
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.report import pointing as report

pytest_plugins = ["tiny_runs"]


@pytest.fixture(scope="module")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of random weights for the embedded data set."""
    net = random_net("shapes", Shapes("val", 1).class_names)
    # Its frames are larger than its input says, since drawn pictures have 48 pixels at least.
    mean = np.full((1, 1, 3), 160, np.float32)
    net = replace(net, preprocessing=Preprocessing(frame=48, mean=mean))
    return write_net(net, tmp_path_factory.mktemp("net") / "shapes.safetensors")


def test_both_nets_play_with_the_same_pictures(main, capsys, net_file: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ["--count", "30", "--least", "0", "--size", "16", "--stride", "16"]
    command_line.run(main, ["--ckpt", str(net_file), *options, "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert {path.name for path in out.iterdir()} == {"pointing.png", "pointing.json"}
    told = json.loads((out / "pointing.json").read_text())
    count = len(told["counted"])
    assert 0 < count <= told["correct"] <= 30
    assert told["net"]["correct"] == 1
    for of_squares in ("chance", "fullest"):
        assert told["net"][of_squares] == told["random weights"][of_squares]
    for line, name in zip(lines, ("net", "random weights"), strict=False):
        share = told[name]["centre"]
        assert line.startswith(f"{name}: centre of the square on the object {share:.1%}")
        assert 0 <= share <= 1
        assert abs(told[name]["correlation"]) <= 1
    assert f"{count} of 30 pictures counted" in lines[-1]


def test_wrong_options(main, capsys, untrained: Path, net_file: Path, tmp_path: Path):
    good = ("--ckpt", net_file)
    for args, said in (
        (("--ckpt", untrained), "expected a run on shapes, whose objects' masks are known"),
        ((*good, "--size", 33), "size 33: expected 1..32"),
        ((*good, "--stride", 0), "stride 0: expected 1 or more"),
        ((*good, "--count", 0), "--count 0: expected 1 or more"),
        ((*good, "--least", 2), "--least 2.0: expected 0..1"),
        (
            (*good, "--count", 20, "--least", 1, "--size", 16, "--stride", 16),
            "none of 20 pictures is classified correctly and loses 1.0 somewhere",
        ),
    ):
        with pytest.raises(SystemExit) as stop:
            command_line.run(main, [*map(str, args), "--out", str(tmp_path / "out")])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 7])
def test_the_figure_says_of_how_many_pictures(monkeypatch, tmp_path: Path, count: int):
    texts = []
    new_figure = report.new_figure

    def watched(*args, **options):
        figure = new_figure(*args, **options)
        savefig = figure.savefig

        def save(*args, **options):
            savefig(*args, **options)
            for axes in figure.axes:
                texts.append(axes.get_title())
                texts.extend(text.get_text() for text in axes.texts)

        figure.savefig = save
        return figure

    monkeypatch.setattr(report, "new_figure", watched)
    result = Pointing(True, 0.5, True, True, True, 0.3, True, 0.4)
    report.draw({"net": [result] * count, "random": [result] * count}, tmp_path / "pointing.png")
    with Image.open(tmp_path / "pointing.png") as picture:
        assert picture.width > 1000
    pictures = "1 picture" if count == 1 else "7 pictures"
    assert f"On the object, share of {pictures}" in texts
    assert texts.count(f"{count} of {count}") == 6
