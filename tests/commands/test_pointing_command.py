import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import Finished
from conftest import random_params

from zfnet_jax.commands import command_line
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.data.splits import open_splits
from zfnet_jax.networks import weights
from zfnet_jax.training import checkpoint

pytest_plugins = ["tiny_runs"]


@pytest.fixture(scope="module")
def net_file(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny net as one of the embedded data set, with random weights, at its 32 pixels."""
    net = checkpoint.load(finished.run)
    config = replace(net.config, data=replace(net.config.data, source="shapes"))
    names = open_splits(config.data, config.seed).val.class_names
    params = random_params(net.architecture, len(names))
    params["conv1"]["kernel"] = params["conv1"]["kernel"] / 60
    # Its frames are larger than its input says, since drawn pictures have 48 pixels at least.
    mean = np.full((1, 1, 3), 160, np.float32)
    net = replace(
        net,
        config=config,
        params=params,
        class_names=names,
        preprocessing=Preprocessing(frame=48, mean=mean),
    )
    path = tmp_path_factory.mktemp("net") / "shapes.safetensors"
    weights.write(net, path, jnp.float32)
    return path


def test_both_nets_play_with_the_same_pictures(main, capsys, net_file: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ["--count", "30", "--least", "0", "--size", "12", "--stride", "10"]
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


def test_wrong_options(main, capsys, finished: Finished, net_file: Path, tmp_path: Path):
    good = ("--ckpt", net_file)
    for args, said in (
        (("--ckpt", finished.run), "expected a run on shapes, whose objects' masks are known"),
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
