import dataclasses
import json
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import Finished, Zfnet, lines_of, one_line, with_lists
from conftest import CLASSES, TINY, random_params

from zfnet_jax.commands import command_line, evaluate
from zfnet_jax.config import TrainConfig
from zfnet_jax.core import devices, signals
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.decode import decode
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.data.source import Example
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint, evaluation
from zfnet_jax.training.evaluation import evaluate_nets
from zfnet_jax.zfnet.model import ZFNet, forward

pytest_plugins = ["tiny_runs"]

NAMES = tuple(f"class {number}" for number in range(CLASSES))
COUNT = 21  # no multiple of any batch
KEYS = ("loss", "top1", "top5", "per_class")


class Memory:
    """Pictures in memory; no picture of the last class."""

    def __init__(self, names: tuple[str, ...] = NAMES, count: int = COUNT) -> None:
        rng = np.random.default_rng(0)
        self.class_names = names
        self.labels = rng.integers(0, CLASSES - 1, count).astype(np.int32)
        colours = rng.integers(0, 200, (count, 1, 1, 3))
        self.images = (colours + rng.integers(0, 56, (count, 37, 37, 3))).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], int(self.labels[index]), f"{index}")


def make_net(seed: int, size: int = 32, name: str = "own") -> Net:
    arch, frame = TINY.at(size), frame_size(size)
    params = random_params(arch, CLASSES, seed)
    mean = np.random.default_rng(seed).uniform(90, 160, (frame, frame, 3)).astype(np.float32)
    channels = "bgr" if seed % 2 else "rgb"
    config = TrainConfig(name=name, architecture=arch)
    return Net(
        config.architecture,
        params,
        Preprocessing(frame, mean, 0.02, channels),
        NAMES,
        step=1,
        config=config,
    )


def probabilities(net: Net, source: Memory, views: int) -> np.ndarray:
    """The softmax of every view by hand, averaged, in float64."""
    frame, size = net.preprocessing.frame, net.architecture.input_size
    images = np.stack([np.float64(decode(image, frame)) for image in source.images])
    if net.preprocessing.channels == "bgr":
        images = images[..., ::-1]
    images = (images - net.preprocessing.mean) * net.preprocessing.scale
    far, middle = frame - size, (frame - size) // 2
    places = [(middle, middle), (0, 0), (0, far), (far, 0), (far, far)]
    crops = [images[:, top : top + size, left : left + size] for top, left in places]
    crops += [crop[:, :, ::-1] for crop in crops]
    softmaxes = []
    for crop in crops[:1] if views == 1 else crops:
        logits, _ = forward(net.architecture, net.params, jnp.float32(crop))
        exponentials = np.exp(np.float64(logits) - np.float64(logits).max(axis=1, keepdims=True))
        softmaxes.append(exponentials / exponentials.sum(axis=1, keepdims=True))
    return np.mean(softmaxes, axis=0)


def expected_of(probability: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    order = np.argsort(-probability, axis=1, kind="stable")
    top1 = order[:, 0] == labels
    return {
        "loss": -np.log(probability[np.arange(len(labels)), labels]).mean(),
        "top1": top1.mean(),
        "top5": (order[:, :5] == labels[:, None]).any(axis=1).mean(),
        "per_class": np.mean([top1[labels == label].mean() for label in np.unique(labels)]),
    }


@pytest.mark.parametrize("views", [1, 10])
def test_nets_and_their_mean_by_hand(views):
    source = Memory()
    nets = [make_net(0), make_net(1)]  # of other channels and another mean
    by_net = [probabilities(net, source, views) for net in nets]
    source.labels[::3] = by_net[0].argmax(axis=1)[::3]  # else next to none is right
    results = evaluate_nets(nets, source, views=views, batch_size=16)
    for result, probability in zip(results, [*by_net, np.mean(by_net, axis=0)], strict=True):
        assert result == pytest.approx(expected_of(probability, source.labels), rel=1e-4)
    assert len({result["loss"] for result in results}) == 3
    assert 0 < results[0]["top1"] < results[0]["top5"] < 1


def test_one_net_has_no_mean():
    assert len(evaluate_nets([make_net(0)], Memory(count=3))) == 1


def test_neither_batches_nor_padding_count():
    source, net = Memory(), make_net(0)
    results = [evaluate_nets([net], source, batch_size=size)[0] for size in (1, 16, 24, 64)]
    for result in results[1:]:
        assert {name: result[name] for name in KEYS[1:]} == {
            name: results[0][name] for name in KEYS[1:]
        }
        assert result["loss"] == pytest.approx(results[0]["loss"], rel=1e-6)


def test_an_evaluation_stops_at_a_signal():
    with signals.watched():
        signals.note(signal.SIGTERM)
        with pytest.raises(signals.Stopped, match="143"):
            evaluate_nets([make_net(0)], Memory())


def test_predictions_are_log_probabilities():
    source, net, mesh = Memory(), make_net(0), devices.make_mesh()
    for views in (1, 10):
        predict = evaluation.predictor(
            ZFNet(net.architecture, CLASSES), net.preprocessing, mesh, views
        )
        predicted = predict(net.params, jnp.asarray(source.images[:8]))
        assert predicted.dtype == jnp.float32
        np.testing.assert_allclose(jax.nn.logsumexp(predicted, axis=1), 0, atol=1e-6)
        expected = np.log(probabilities(net, source, views)[:8])
        np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)


# What a user can get wrong


def test_nets_of_different_classes_are_refused():
    one = make_net(0, name="one")
    other = dataclasses.replace(make_net(1, name="other"), class_names=NAMES[::-1])
    with pytest.raises(ValueError, match=r"nets 'one' and 'other': expected the same classes"):
        evaluate_nets([one, other], Memory())


def test_nets_of_different_input_sizes_are_refused():
    nets = [make_net(0, name="one"), make_net(1, name="same"), make_net(2, size=28, name="other")]
    message = r"nets 'one' and 'other': expected the same input size, they read 32 and 28 pixels"
    with pytest.raises(ValueError, match=message):
        evaluate_nets(nets, Memory())


def test_the_command_names_the_files_of_nets_that_differ(capsys, tmp_path: Path):
    paths = [tmp_path / "one.safetensors", tmp_path / "other.safetensors"]
    for path, size in zip(paths, (32, 28), strict=True):
        weights.write(make_net(0, size=size), path)
    said = failure(capsys, "--ckpt", *paths)
    assert f"nets {paths[0]} and {paths[1]}: expected the same input size, they read 32" in said


def write_trained_on(data: DataConfig, seed: int, folder: Path, path: Path) -> None:
    """Writes a net of random weights that says it was trained on a part of a folder."""
    net, classes = make_net(seed), tuple(sorted(path.name for path in folder.iterdir()))
    config = dataclasses.replace(net.config, data=data, seed=seed)
    params = random_params(TINY, len(classes), seed)
    params["conv1"]["kernel"] /= 60
    weights.write(dataclasses.replace(net, config=config, params=params, class_names=classes), path)


def test_nets_that_hold_out_other_pictures_are_refused(capsys, picture_folder, tmp_path: Path):
    """Of one folder, split by each net's seed: what one has learned from, another is scored on."""
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    another_way = picture_folder / ".." / picture_folder.name
    for path, seed, folder in zip(
        paths, (0, 0, 1), (picture_folder, another_way, another_way), strict=True
    ):
        write_trained_on(DataConfig(source=f"folder:{folder}"), seed, picture_folder, path)
    said = failure(capsys, "--ckpt", *paths)
    assert f"net {paths[2]}: has not held out " in said
    # Nor are they given away by the name of the data set.
    own = "--source", f"folder:{picture_folder}"
    assert f"net {paths[2]}: has not held out " in failure(capsys, "--ckpt", *paths, *own)
    command_line.run(evaluate.main, ["--ckpt", *map(str, paths[:2])])
    without = capsys.readouterr().out
    assert "mean of all" in without
    command_line.run(evaluate.main, ["--ckpt", *map(str, paths[:2]), *own])
    assert capsys.readouterr().out == without
    other = shutil.copytree(picture_folder, tmp_path / "other")
    command_line.run(evaluate.main, ["--ckpt", *map(str, paths), "--source", f"folder:{other}"])
    assert "mean of all" in capsys.readouterr().out


def test_pictures_that_all_nets_have_held_out(capsys, picture_folder, tmp_path: Path):
    """A net that was trained and validated without some pictures, and one with them."""
    source = TrainConfig(data=DataConfig(source=f"folder:{picture_folder}"))
    whole = with_lists(source, tmp_path).data
    left_out = Path(str(whole.val_list)).read_text().splitlines()[0]
    (tmp_path / "exclude").write_text(f"{left_out}\n")
    fewer = dataclasses.replace(whole, exclude=str(tmp_path / "exclude"))
    paths = [tmp_path / "fewer.safetensors", tmp_path / "whole.safetensors"]
    for path, data in zip(paths, (fewer, whole), strict=True):
        write_trained_on(data, 0, picture_folder, path)
    command_line.run(evaluate.main, ["--ckpt", *map(str, paths)])
    assert "mean of all" in capsys.readouterr().out
    # The other way round one picture was left out of all that the second net has seen.
    command_line.run(evaluate.main, ["--ckpt", *map(str, paths[::-1])])
    assert "mean of all" in capsys.readouterr().out


def test_a_picture_that_a_net_has_learned_from(capsys, picture_folder, tmp_path: Path):
    source = TrainConfig(data=DataConfig(source=f"folder:{picture_folder}"))
    whole = with_lists(source, tmp_path).data
    learned, *held_out = Path(str(whole.val_list)).read_text().splitlines()
    lists = {"train_list": tmp_path / "more.txt", "val_list": tmp_path / "less.txt"}
    lists["train_list"].write_text(Path(str(whole.train_list)).read_text() + f"{learned}\n")
    lists["val_list"].write_text("".join(f"{name}\n" for name in held_out))
    more = dataclasses.replace(whole, **{key: str(path) for key, path in lists.items()})
    paths = [tmp_path / "whole.safetensors", tmp_path / "more.safetensors"]
    for path, data in zip(paths, (whole, more), strict=True):
        write_trained_on(data, 0, picture_folder, path)
    said = failure(capsys, "--ckpt", *paths)
    assert f"net {paths[1]}: has not held out 1 of the {len(held_out) + 1} pictures" in said


def test_data_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="expected the net's own 7, by the same names"):
        evaluate_nets([make_net(0)], Memory(NAMES[::-1]))


def test_a_net_whose_loss_is_not_finite_is_refused_by_its_name():
    good, bad = make_net(0, name="good"), make_net(1, name="bad")
    kernel = bad.params["conv1"]["kernel"].at[0, 0, 0, 0].set(jnp.nan)
    params = {**bad.params, "conv1": {**bad.params["conv1"], "kernel": kernel}}
    bad = dataclasses.replace(bad, params=params)
    with pytest.raises(ValueError, match="net 'bad': its loss is nan; expected weights"):
        evaluate_nets([good, bad], Memory())


def test_the_command_refuses_weights_that_are_not_finite(capsys, picture_folder, tmp_path: Path):
    path = tmp_path / "damaged.safetensors"
    write_trained_on(DataConfig(source=f"folder:{picture_folder}"), 0, picture_folder, path)
    net = weights.read(path)
    bias = net.params["fc5"]["bias"].at[0].set(jnp.nan)
    params = {**net.params, "fc5": {**net.params["fc5"], "bias": bias}}
    weights.write(dataclasses.replace(net, params=params), path)
    assert f"{path}: " in failure(capsys, "--ckpt", path)


def failure(capsys, *args: object) -> str:
    with pytest.raises(SystemExit) as stop:
        command_line.run(evaluate.main, [str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    return err


def test_wrong_options(capsys, picture_folder, tmp_path: Path):
    net = tmp_path / "net.safetensors"
    write_trained_on(DataConfig(source=f"folder:{picture_folder}"), 0, picture_folder, net)
    for options, said in (
        (("--ckpt", tmp_path / "nowhere"), "nowhere: expected a run's folder"),
        ((), "--ckpt"),
        (("--ckpt", net, "--views", 5), "--views"),
        (("--ckpt", net, "--batch-size", 0), "--batch-size 0: expected 1"),
        (("--ckpt", net, "--source", "pictures"), "data source 'pictures'"),
        (("--ckpt", net, "--source", "shapes"), "12 classes: expected the net's own 3"),
    ):
        assert said in failure(capsys, *options)


# The command


@pytest.mark.slow
def test_the_command(zfnet: Zfnet, finished: Finished, tmp_path: Path):
    step = finished.run / checkpoint.FOLDER / "8"
    file, out = tmp_path / "é <b>.safetensors", tmp_path / "numbers.json"
    weights.write(checkpoint.load(finished.run), file, jnp.float32)
    paths = [finished.run, step, file]
    result = zfnet.run("-m", "zfnet_jax.evaluate", "--ckpt", *paths, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    written = json.loads(out.read_text())
    assert written["views"] == 1
    numbers = {row.pop("net"): row for row in written["results"]}
    assert list(numbers) == [*map(str, paths), "mean of all"]
    # The same as training said of these steps.
    said = {line["step"]: line for line in lines_of(finished.run) if line["split"] == "val"}
    for path, line in ((finished.run, said[24]), (step, said[8]), (file, said[24])):
        assert numbers[str(path)] == pytest.approx({key: line[key] for key in KEYS}, rel=1e-5)
    *lines, last = result.stdout.splitlines()
    assert last == f"wrote {out}"
    for line, (name, row) in zip(lines, numbers.items(), strict=True):
        assert line == (
            f"{name}: top-1 {row['top1']:.2%}, per class {row['per_class']:.2%}, "
            f"loss {row['loss']:.4f}"
        )


def test_the_command_fails_in_one_line(zfnet: Zfnet, tmp_path: Path):
    result = zfnet.run("-m", "zfnet_jax.evaluate", "--ckpt", tmp_path)
    assert one_line(result).startswith(f"error: checkpoint {tmp_path}: expected a run's folder")
