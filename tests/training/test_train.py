import json
import os
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from command_runs import (
    BATCH,
    EPOCH_STEPS,
    EPOCHS,
    PICTURES,
    STEPS,
    TRAIN,
    VAL,
    Finished,
    Zfnet,
    bits_of,
    each_step_once,
    lines_of,
    one_line,
    without_speed,
)
from filelock import FileLock
from PIL import Image

from zfnet_jax import config as configs
from zfnet_jax.commands import train
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.training.metrics import MetricsLog
from zfnet_jax.training.run_folder import expect_same_run, write_description
from zfnet_jax.zfnet.architecture import Conv

pytest_plugins = ["tiny_runs"]

TEMPORARY = "*orbax-checkpoint-tmp*"


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run, to damage."""
    return shutil.copytree(finished.run, tmp_path / "run")


def keep_steps(run: Path, *kept: int) -> None:
    """Takes the other checkpoints out of a run."""
    for step in checkpoint.steps(run):
        if step not in kept:
            shutil.rmtree(run / checkpoint.FOLDER / str(step))


def failure(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The message of a training command that a user's error ends, run in this process."""
    with pytest.raises(SystemExit) as stop:
        train.run([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


# What a whole run leaves


def test_a_run_writes_its_record(finished: Finished):
    lines = lines_of(finished.run)
    train_lines = [line for line in lines if line["split"] == "train"]
    val_lines = [line for line in lines if line["split"] == "val"]
    assert [line["step"] for line in train_lines] == list(range(1, STEPS + 1))
    assert [line["step"] for line in val_lines] == list(range(4, STEPS + 1, EPOCH_STEPS))
    for line in lines:
        assert line["epoch"] == line["step"] / EPOCH_STEPS
        assert line["loss"] > 0
        assert 0 <= line["top1"] <= 1
        assert line["images_per_second"] > 0
    for line in train_lines:
        assert set(line) == {
            *(
                "step",
                "epoch",
                "split",
                "loss",
                "top1",
                "top5",
                "learning_rate",
                "images_per_second",
            )
        }
        assert (line["top1"] * BATCH) % 1 == 0
    for line in val_lines:
        assert line["top5"] == 1.0  # of three classes
        assert (line["top1"] * VAL) % 1 == pytest.approx(0, abs=1e-9)
    assert list(finished.run.glob("events.out.tfevents.*"))


def test_a_run_learns(finished: Finished):
    lines = lines_of(finished.run)
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert np.mean(losses[:4]) == pytest.approx(np.log(3), rel=0.05)
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])
    val = [line["loss"] for line in lines if line["split"] == "val"]
    assert val[-1] < 0.75 * val[0]


def test_the_rate_warms_up_and_falls_on_plateaus(finished: Finished):
    lines = lines_of(finished.run)
    rates = [line["learning_rate"] for line in lines if line["split"] == "train"]
    assert rates[:4] == pytest.approx([0, 0.05 / 3, 0.1 / 3, 0.05])
    # Patience 1 and factor 0.5: each epoch whose error is not the best yet halves the rate.
    expected, best = [], np.inf
    rate = 0.05
    for line in lines:
        if line["split"] == "val":
            error = 1 - line["top1"]
            rate = rate if error < best else rate / 2
            best = min(best, error)
        elif line["step"] > 4:
            expected.append(rate)
    assert rates[4:] == pytest.approx(expected)
    assert rates[-1] < rates[4]


def test_a_run_says_what_it_does(finished: Finished):
    said = [line for line in finished.result.stdout.splitlines() if not line.startswith("step ")]
    assert len(said) == 2 + EPOCHS + 2
    assert said[:2] == ["mean of the training set", "compiling the training step"]
    assert said[2].startswith("epoch 1 of 6, step 4: validation loss 1.")
    assert "top-5" not in finished.result.stdout  # of three classes
    assert said[-1] == f"look inside it: zfnet-jax deconv --ckpt {finished.run}"


def test_pictures_of_a_run(finished: Finished):
    for name, minimum in (("curves.png", (600, 300)), ("filters.png", (300, 100))):
        with Image.open(finished.run / name) as picture:
            assert picture.size >= minimum
            colours = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colours) > 50
    # The gaps are white, and some filter reaches the ends of the common scale.
    with Image.open(finished.run / "filters.png") as picture:
        filters = np.asarray(picture.convert("RGB"))
    assert filters.min() == 0
    assert filters.max() == 255


def test_the_nets_of_some_epochs_stay_for_good(finished: Finished):
    kept = run_folder.snapshots(finished.run)
    assert list(kept) == [1, 2, 5, EPOCHS]  # those of Fig 4, and the last
    for epoch, file in kept.items():
        step = finished.run / checkpoint.FOLDER / str(epoch * EPOCH_STEPS)
        net, expected = checkpoint.load(file), checkpoint.load(step)
        assert net.step == expected.step
        jax.tree.map(np.testing.assert_array_equal, net.params, expected.params)


def test_config_json_is_the_configuration(finished: Finished, zfnet: Zfnet):
    stored = configs.from_json(json.loads((finished.run / "config.json").read_text()))
    expected = configs.load(zfnet.config)
    assert stored.architecture == expected.architecture
    assert stored.optimizer == expected.optimizer
    assert stored.train.keep == 100


def test_every_update_respects_the_cap(finished: Finished):
    capped = 0
    for step in range(1, STEPS + 1):
        net = checkpoint.load(finished.run / checkpoint.FOLDER / str(step))
        for layer in net.architecture:
            if isinstance(layer, Conv):
                kernel = np.asarray(net.params[layer.name]["kernel"], np.float64)
                rms = np.sqrt((kernel**2).mean(axis=(0, 1, 2)))
                assert rms.max() <= 0.1 * (1 + 1e-6)
                capped += (rms > 0.1 * (1 - 1e-6)).sum()
    assert capped > STEPS  # so that it had something to do


def test_the_best_step(finished: Finished):
    val = [line for line in lines_of(finished.run) if line["split"] == "val"]
    best = max(val, key=lambda line: line["per_class"])
    assert f"best validation per class: step {best['step']} in" in finished.result.stdout


# Stopping and going on


@pytest.mark.slow
def test_stopped_anywhere_it_ends_with_the_same_bits(
    zfnet: Zfnet, finished: Finished, tmp_path: Path
):
    run = tmp_path / "run"
    steps = lambda: checkpoint.steps(run)
    temporary = lambda: [path.name for path in (run / checkpoint.FOLDER).glob(TEMPORARY)]

    def killed(moment: str, text: str = "", count: int = 0) -> None:
        result = zfnet.train_stopped(run, signal.SIGKILL, moment, text, count)
        assert result.returncode == -signal.SIGKILL, result.stderr
        assert result.stderr == ""

    def asked(number: int, count: int) -> None:
        result = zfnet.train_stopped(run, number, "batch", count=count)
        assert (result.returncode, result.stderr) == (128 + number, "")
        last = result.stdout.splitlines()[-1]
        assert last == f"stopped and saved; the same command goes on from {run}"

    killed("batch", count=1)  # before there is any checkpoint
    assert steps() == []
    asked(signal.SIGTERM, count=2)  # before step 2
    assert steps() == [2]
    killed("os.rename", "3.orbax-checkpoint-tmp")  # all written, not yet there
    assert steps() == [2]
    assert temporary()
    asked(signal.SIGINT, count=3)  # at the first of the two batches of validation
    assert steps() == [2, 3, 4]
    assert temporary() == []
    assert [line["split"] for line in lines_of(run)] == ["train"] * 4
    killed("batch", count=2)  # in the validation that comes first now
    killed("open", "4/files.json")  # step 4, written anew, is there, but not yet its digests
    killed("os.rename", "params.orbax-checkpoint-tmp")
    draw = random.Random(0)
    for _ in range(2):
        killed("batch", str(draw.randrange(1, 200)), count=4)  # anywhere in a step or a save
    result = zfnet.train(run)
    assert (result.returncode, result.stderr) == (0, "")

    assert bits_of(run) == bits_of(finished.run)
    assert without_speed(run) == without_speed(finished.run)
    assert temporary() == []
    assert steps() == sorted({20, 21, 24, best_step(finished.run)})
    kept, expected = (run_folder.snapshots(folder) for folder in (run, finished.run))
    assert list(kept) == list(expected)
    for one, other in zip(kept.values(), expected.values(), strict=True):
        nets = checkpoint.load(one).params, checkpoint.load(other).params
        jax.tree.map(np.testing.assert_array_equal, *nets)


def best_step(run: Path) -> int:
    """The step of the best validation."""
    val = [line for line in lines_of(run) if line["split"] == "val"]
    return max(val, key=lambda line: line["per_class"])["step"]


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter(zfnet: Zfnet, finished: Finished, tmp_path: Path):
    run = tmp_path / "run"
    free = ("--train.log-steps", 4, "--data.threads", 1, "--data.cache-gib", 0)
    first = zfnet.train(run, "--train.epochs", 3, "--train.max-steps", 10, *free)
    assert (first.returncode, first.stderr) == (0, "")
    assert checkpoint.steps(run) == [8, 9, 10]
    # Validated at its end, though the epoch is not over; that leaves the rate alone.
    assert [line["step"] for line in lines_of(run) if line["split"] == "val"] == [4, 8, 10]
    second = zfnet.train(run)
    assert (second.returncode, second.stderr) == (0, "")
    assert bits_of(run) == bits_of(finished.run)
    assert each_step_once(run)
    # Each line is the mean of the steps since the line before.
    single = {line["step"]: line["loss"] for line in lines_of(finished.run)[:3]}
    assert lines_of(run)[0]["step"] == 3
    assert lines_of(run)[0]["loss"] == pytest.approx(np.mean(list(single.values())))


@pytest.mark.slow
def test_a_finished_run_ends_again(zfnet: Zfnet, copied: Path):
    before = without_speed(copied), bits_of(copied)
    # With a limit that has passed: what is past the end is at the end.
    result = zfnet.train(copied, "--train.keep", 100, "--train.max-steps", 9)
    assert (result.returncode, result.stderr) == (0, "")
    assert (without_speed(copied), bits_of(copied)) == before


def test_a_line_that_a_kill_cut_short_is_left_out(copied: Path):
    lines = lines_of(copied)
    whole = [line for line in lines if line["step"] <= 6]
    text = (copied / "metrics.jsonl").read_text()
    (copied / "metrics.jsonl").write_text(text + '{"step": 25, "epoch": 6.25, "spl')
    with MetricsLog(copied, step=6) as log:
        log.write("train", 7, 1.75, {"loss": 1.0})
    assert lines_of(copied)[:-1] == whole
    assert lines_of(copied)[-1] == {"step": 7, "epoch": 1.75, "split": "train", "loss": 1.0}


# Damage


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return (
        data[:middle]
        + bytes(byte ^ 0x15 for byte in data[middle : middle + 3])
        + data[middle + 3 :]
    )


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    zfnet: Zfnet, copied: Path, finished: Finished
):
    keep_steps(copied, 16, 20, 24)
    newest = copied / checkpoint.FOLDER / "24"
    (data,) = newest.glob("params/ocdbt.process_0/d/*")
    data.write_bytes(flip(data.read_bytes()))
    (copied / checkpoint.FOLDER / "20" / "params" / "manifest.ocdbt").write_bytes(b"")
    result = zfnet.train(copied)
    assert result.returncode == 0
    first, second = result.stderr.splitlines()
    for line, step in ((first, 24), (second, 20)):
        assert line.startswith(f"warning: checkpoint {copied / checkpoint.FOLDER / str(step)}: ")
        assert line.endswith("; using step 16")
    assert bits_of(copied) == bits_of(finished.run)
    assert without_speed(copied) == without_speed(finished.run)


def test_all_checkpoints_damaged(capsys, zfnet: Zfnet, copied: Path):
    keep_steps(copied, 20, 24)
    for step in (20, 24):
        metadata = copied / checkpoint.FOLDER / str(step) / "_CHECKPOINT_METADATA"
        metadata.write_bytes(metadata.read_bytes()[:100])
    before = sorted(path.name for path in copied.iterdir()), without_speed(copied)
    said = failure(capsys, *zfnet.options(copied))
    assert said.startswith(f"error: checkpoint {copied / checkpoint.FOLDER / '20'}: damaged")
    assert (sorted(path.name for path in copied.iterdir()), without_speed(copied)) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last_step", "named"),
    [(23, f"checkpoint {{}}/{checkpoint.FOLDER}/23: not written, "), (STEPS, "{}/snapshots/epoch")],
)
def test_full_disk(zfnet: Zfnet, copied: Path, last_step, named):
    keep_steps(copied, 20, 21)
    before = bits_of(copied)
    largest = max(path.stat().st_size for path in copied.rglob("*") if "checkpoints" in path.parts)
    text = max((copied / name).stat().st_size for name in ("metrics.jsonl", "config.json"))
    assert text + 500 < largest // 2  # so that only checkpoints are too large
    options = ("--train.checkpoint-steps", 0, "--train.max-steps", last_step)
    said = one_line(zfnet.train_on_full_disk(copied, largest // 2, *options))
    assert said.startswith(f"error: {named.format(copied)}")
    assert "File too large" in said
    assert checkpoint.steps(copied) == [20, 21]
    assert bits_of(copied) == before


@pytest.mark.slow
def test_not_finite(zfnet: Zfnet, tmp_path: Path):
    run = tmp_path / "run"
    options = ("--optimizer.learning-rate", "1e37", "--train.checkpoint-steps", 1)
    said = one_line(zfnet.train(run, *options))
    assert "not finite at step " in said
    step = int(said.split("not finite at step ")[1].split()[0])
    assert checkpoint.steps(run)[-1] == step - 1 < 4
    net = checkpoint.load(run)
    for layer in net.params.values():
        assert all(np.isfinite(array).all() for array in layer.values())
    assert [line["step"] for line in lines_of(run)] == list(range(1, step))


# What a user can get wrong


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--optimizer.learning-rate", "0.01", "optimizer.learning_rate = 0.01: "),
        ("--seed", "7", "seed = 7: "),
        ("--data.source", "shapes", "data.source = 'shapes': "),
        ("--architecture", "zfnet_small@32", "architecture = "),
    ],
)
def test_another_configuration_is_refused(
    capsys, zfnet: Zfnet, finished: Finished, option, value, said
):
    before = (finished.run / "config.json").read_text()
    line = failure(capsys, *zfnet.options(finished.run), option, value)
    assert line.startswith(f"error: {said}")
    assert f"{finished.run} was started with " in line
    assert line.rstrip().endswith("or another folder for the run")
    key = option.removeprefix("--").replace("-", "_")
    if key != "architecture":
        section, _, name = key.rpartition(".")
        config = configs.load(zfnet.config)
        assert repr(getattr(getattr(config, section) if section else config, name)) in line
    assert (finished.run / "config.json").read_text() == before


def test_free_keys(zfnet: Zfnet, finished: Finished, tmp_path: Path):
    config = configs.load(zfnet.config)
    with_cosine = configs.from_json(configs.to_json(config) | {"optimizer": {"schedule": "cosine"}})
    longer = {"train": {**configs.to_json(config)["train"], "epochs": 7}}
    for started, refused in ((config, False), (with_cosine, True)):
        run = tmp_path / started.optimizer.schedule
        splits = open_splits(started.data)
        write_description(run, started, splits)
        more = configs.from_json(configs.to_json(started) | longer)
        if refused:  # the length of the run decides every rate
            with pytest.raises(ValueError, match=r"train\.epochs = 7: .* started with 6"):
                expect_same_run(run, more, splits)
        else:
            expect_same_run(run, more, splits)


@pytest.mark.parametrize("is_begun", [True, False])
def test_a_second_process_does_not_take_over_the_folder(
    capsys, zfnet: Zfnet, finished: Finished, tmp_path: Path, is_begun: bool
):
    run = tmp_path / "run"
    run.mkdir()
    if is_begun:
        shutil.copy(finished.run / "config.json", run)
    before = [(path.name, path.read_bytes()) for path in run.iterdir()]
    with FileLock(run / ".lock"):
        line = failure(capsys, *zfnet.options(run), "--optimizer.learning-rate", 0.01)
    assert line.startswith(f"error: {run}: another process is writing to it; expected one")
    (run / ".lock").unlink()
    assert [(path.name, path.read_bytes()) for path in run.iterdir()] == before


def test_what_killed_processes_left_in_a_run_is_removed(tmp_path: Path):
    left = [tmp_path / ".partial" / "curves.png", tmp_path / "config.json.host-7.partial"]
    left += [tmp_path / "snapshots" / "epoch_0001.safetensors.host-7.partial"]
    kept = tmp_path / "snapshots" / "epoch_0001.safetensors"
    for path in (*left, kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with run_folder.locked(tmp_path):
        assert not any(path.exists() for path in left)
    assert sorted(tmp_path.rglob("*")) == [kept.parent, kept]


def test_other_data_is_refused(zfnet: Zfnet, picture_folder: Path, tmp_path: Path):
    config = configs.load(zfnet.config)
    splits = open_splits(config.data)
    write_description(tmp_path / "run", config, splits)
    fewer = shutil.copytree(picture_folder, tmp_path / "pictures")
    (fewer / "red" / "00.png").unlink()
    changed = open_splits(replace(config.data, source=f"folder:{fewer}"))
    with pytest.raises(ValueError, match=r"was started with 36 \+ 12 pictures of 3 classes"):
        expect_same_run(tmp_path / "run", config, changed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--optimizer.learning-rat", "1"], "--optimizer.learning-rat"),
        (["--train.batch-size", "0"], "batch_size = 0: expected 1 or more"),
        (["--train.batch-size", "eight"], "--train.batch-size"),
        (["--train.batch-size", "800"], f"batch size 800: expected at most the {PICTURES - VAL} "),
        (["--optimizer.momentum", "1"], "momentum = 1.0: expected 0 up to below 1"),
        (["--optimizer.learning-rate", "nan"], "learning_rate = nan: expected a number above 0"),
        (["--optimizer.schedule", "linear"], "--optimizer.schedule"),
        (["--architecture", "resnet"], "architecture 'resnet': expected one of zfnet, "),
        (["--architecture", "zfnet@8"], "input size 8: "),
        (["--data.source", "folder:nowhere"], "nowhere does not exist"),
        (["--data.source", "pictures"], "data source 'pictures': expected shapes, folder:PATH"),
        (["--data.train-list", "train.txt"], "both a training and a validation list"),
        (["extra"], "extra"),
    ],
)
def test_wrong_options(capsys, zfnet: Zfnet, tmp_path: Path, options, said):
    run = tmp_path / "run"
    assert said in failure(capsys, *zfnet.options(run), *options)
    assert not run.exists()  # so that the right command is not refused after the wrong one


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected a Python file with get_config()"),
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def get_config(:", "SyntaxError: "),
        ("", "KeyError: 'get_config'"),
        ("def get_config(): return {}", "expected get_config() to return a TrainConfig"),
        (
            "from zfnet_jax.config import TrainConfig\n"
            "def get_config(): return TrainConfig(sede=1)",
            "sede",
        ),
        (
            "from zfnet_jax.config import TrainConfig\n"
            "def get_config(): return TrainConfig(seed=-1)",
            "seed = -1: expected 0 up to below 2^31",
        ),
    ],
)
def test_wrong_config_files(capsys, tmp_path: Path, text, said):
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    line = failure(capsys, "--config", path, "--workdir", tmp_path / "run")
    assert line.startswith(f"error: config {path}: ")
    assert said in line
    assert not (tmp_path / "run").exists()


def test_the_word_none_takes_a_value_away():
    lists = ("--data.train-list", "None", "--data.val-list", "None")
    _, config = train._parse(["--config", "caltech101", *lists])
    assert config.data == replace(configs.load("caltech101").data, train_list=None, val_list=None)
    assert train._parse(["--workdir", "None"])[0].workdir is None


def test_the_run_s_own_config_is_damaged(capsys, zfnet: Zfnet, copied: Path):
    config = copied / "config.json"
    text = config.read_text()
    config.write_text(text[:-20])
    assert str(config) in failure(capsys, *zfnet.options(copied))
    config.write_text(text.replace('"seed"', '"sede"'))
    assert "'sede'" in failure(capsys, *zfnet.options(copied))


def test_the_folder_is_a_file(capsys, zfnet: Zfnet, tmp_path: Path):
    (tmp_path / "run").write_text("a file")
    assert str(tmp_path / "run") in failure(capsys, *zfnet.options(tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "a file"


def test_exit_code_and_one_line_of_the_process(zfnet: Zfnet, tmp_path: Path):
    result = zfnet.run(*TRAIN, "--config", "nowhere.py", "--workdir", tmp_path / "run")
    assert one_line(result) == (
        "error: config nowhere.py: expected a Python file with get_config()\n"
    )


@pytest.mark.slow
def test_unreadable_pictures_are_listed(zfnet: Zfnet, picture_folder: Path, tmp_path: Path):
    folder = shutil.copytree(picture_folder, tmp_path / "pictures")
    damaged = folder / "red" / "aé <b>.png"
    shutil.copy(folder / "red" / "00.png", damaged)
    os.truncate(damaged, 200)
    (folder / "green" / "notes.txt").write_text("green")
    run = tmp_path / "run"
    result = zfnet.train(run, "--data.source", f"folder:{folder}", "--train.max-steps", 1)
    assert result.returncode == 0
    listed = (run / "skipped.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in listed] == ["green/notes.txt", "red/aé <b>.png"]
    assert all(line.split(": ", 1)[1] for line in listed)
    assert result.stderr == (
        f"warning: skipped 2 files of the data set (all in {run / 'skipped.txt'}), such as "
        f"{listed[0]}\n"
    )
    assert [line["split"] for line in lines_of(run)] == ["train", "val"]
