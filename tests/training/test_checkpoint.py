import contextlib
import dataclasses
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import Finished, bits_of
from conftest import CLASSES, TINY, random_params
from safetensors.flax import save_file

from zfnet_jax.config import TrainConfig
from zfnet_jax.core import identity, resources, signals
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.networks import net as nets
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint
from zfnet_jax.training.checkpoint import Checkpoints, Progress
from zfnet_jax.zfnet.architecture import ZFNET_SMALL

pytest_plugins = ["tiny_runs"]

NAMES = tuple(f"class {number} é <b>" for number in range(CLASSES))


def make_net(step: int, seed: int = 0) -> Net:
    frame = frame_size(TINY.input_size)
    mean = np.random.default_rng(seed).uniform(0, 255, (frame, frame, 3)).astype(np.float32)
    config = TrainConfig(name="mine", architecture=TINY, data=DataConfig(source="folder:é"))
    params = random_params(TINY, CLASSES, seed)
    return Net(
        config.architecture,
        params,
        Preprocessing(frame, mean, 0.5, "bgr"),
        NAMES,
        step,
        config=config,
    )


def make_progress(step: int) -> Progress:
    return Progress(make_net(step, seed=step), [jnp.float32(step), jnp.arange(4), jnp.ones((2, 3))])


def save(run: Path, *steps: int, keep: int = 9, **validated: float) -> None:
    """Saves some steps; validated as `of_4=0.5` for the accuracy 0.5 of step 4."""
    with Checkpoints(run, keep) as checkpoints:
        for step in steps:
            accuracy = validated.get(f"of_{step}")
            checkpoints.save(
                make_progress(step), None if accuracy is None else {"per_class": accuracy}
            )


def assert_same_net(one: Net, other: Net, params_too: bool = True) -> None:
    assert nets.to_json(one) == nets.to_json(other)
    np.testing.assert_array_equal(one.preprocessing.mean, other.preprocessing.mean)
    if params_too:
        assert identity.of_arrays(one.params) == identity.of_arrays(other.params)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the steps 3 and 7; read-only."""
    run = tmp_path_factory.mktemp("saved") / "run"
    save(run, 3, 7, of_3=0.25)
    return run


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "run")


# What is saved is what is loaded


def test_a_run_loads_its_newest_step(saved: Path):
    assert checkpoint.steps(saved) == [3, 7]
    assert_same_net(checkpoint.load(saved), make_net(7, seed=7))
    assert_same_net(checkpoint.load(str(saved)), make_net(7, seed=7))


def test_a_step_loads(saved: Path, tmp_path: Path):
    assert_same_net(checkpoint.load(saved / checkpoint.FOLDER / "3"), make_net(3, seed=3))
    shutil.copytree(saved / checkpoint.FOLDER / "3", tmp_path / "3")  # wherever it lies
    assert_same_net(checkpoint.load(tmp_path / "3"), make_net(3, seed=3))


def test_leaves_are_numpy(saved: Path):
    net = checkpoint.load(saved)
    for leaf in jax.tree.leaves(net.params):
        assert type(leaf) is np.ndarray
        assert leaf.dtype == np.float32
    assert type(net.preprocessing.mean) is np.ndarray
    assert net.architecture == TINY
    assert net.class_names == NAMES
    assert net.step == 7


def test_progress(saved: Path):
    progress = checkpoint.load_progress(saved)
    assert progress is not None
    assert_same_net(progress.net, make_net(7, seed=7))
    expected = make_progress(7).optimizer
    assert len(progress.optimizer) == len(expected)
    for one, other in zip(progress.optimizer, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape


def test_no_progress_yet(tmp_path: Path):
    assert checkpoint.load_progress(tmp_path) is None
    (tmp_path / checkpoint.FOLDER).mkdir()
    assert checkpoint.load_progress(tmp_path) is None


def test_a_net_of_a_real_run(finished: Finished):
    net = checkpoint.load(finished.run)
    assert net.class_names == ("blue", "green", "red")
    assert net.step == 24
    assert net.preprocessing.frame == 37
    assert 60 < net.preprocessing.mean.mean() < 180


# Which steps stay


def test_the_newest_and_the_best_stay(tmp_path: Path):
    save(tmp_path, *range(1, 8), keep=2, of_2=0.25, of_3=0.75, of_5=0.5)
    assert checkpoint.steps(tmp_path) == [3, 6, 7]
    with Checkpoints(tmp_path, 2) as checkpoints:
        assert checkpoints.best() == 3
    save(tmp_path, 8, keep=2, of_8=0.875)
    assert checkpoint.steps(tmp_path) == [7, 8]
    with Checkpoints(tmp_path, 2) as checkpoints:
        assert checkpoints.best() == 8


def test_no_best_without_validation(tmp_path: Path):
    save(tmp_path, 1, 2, 3, keep=1)
    assert checkpoint.steps(tmp_path) == [3]
    with Checkpoints(tmp_path, 1) as checkpoints:
        assert checkpoints.best() is None


def test_a_step_is_written_anew(copied: Path):
    with Checkpoints(copied, 9) as checkpoints:
        progress = make_progress(7)
        checkpoints.save(progress._replace(net=make_net(7, seed=1)), {"per_class": 1.0})
        assert checkpoints.best() == 7
    assert_same_net(checkpoint.load(copied), make_net(7, seed=1))
    assert checkpoint.steps(copied) == [3, 7]


def test_what_a_killed_save_leaves_is_cleaned_up(copied: Path):
    left = copied / checkpoint.FOLDER / "9.orbax-checkpoint-tmp"
    shutil.copytree(copied / checkpoint.FOLDER / "7", left)
    assert checkpoint.steps(copied) == [3, 7]
    assert checkpoint.load(copied).step == 7
    with Checkpoints(copied, 9) as checkpoints:
        checkpoints.save(make_progress(8))
    assert not left.exists()
    assert checkpoint.steps(copied) == [3, 7, 8]


# Damage


def damaged(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    changed = bytes([data[middle] ^ 0x10]) if data else b""
    return {
        "flip": data[:middle] + changed + data[middle + 1 :],
        "cut": data[:middle],
        "empty": b"",
    }[how]


def files_of(step: Path) -> list[str]:
    return sorted(path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "remove"])
def test_damage_to_any_file_is_noticed(capsys, copied: Path, how):
    step = copied / checkpoint.FOLDER / "7"
    read, silent = set(), []
    for name in files_of(step):
        if name == "files.json" and how == "remove":
            continue  # as after a kill at the last moment; what there is is checked all the same
        file = step / name
        data = file.read_bytes()
        if not data and how != "remove":
            continue
        if how == "remove":
            file.unlink()
        else:
            file.write_bytes(damaged(data, how))
        progress = checkpoint.load_progress(copied)
        assert progress is not None
        err = capsys.readouterr().err
        if progress.net.step == 3:
            assert err.startswith(f"warning: checkpoint {step}: damaged")
            assert err.endswith("; using step 3\n")
            assert err.count("\n") == 1
            read.add(name.split("/")[0])
        else:
            assert err == ""
            silent.append(name)
        file.write_bytes(data)
        assert checkpoint.load_progress(copied).net.step == 7
    # The position is in the net's description too, and validation decides nothing here.
    assert {name.split("/")[0] for name in silent} <= {"position", "metrics"}
    assert read >= {"params", "preprocessing", "optimizer", "_CHECKPOINT_METADATA"}


@pytest.mark.parametrize("change", [("mine", "mime"), ('"momentum": 0.9', '"momentum": 0.8')])
def test_a_changed_description_is_noticed_without_the_digests_of_files(copied: Path, change):
    metadata = copied / checkpoint.FOLDER / "7" / "_CHECKPOINT_METADATA"
    text = metadata.read_text()
    assert change[0] in text
    metadata.write_text(text.replace(*change, 1))
    (metadata.parent / "files.json").unlink()
    with pytest.raises(ValueError, match="/7: damaged, its contents do not match their digest"):
        checkpoint.load(metadata.parent)


def test_changed_arrays_are_noticed_without_the_digests_of_files(copied: Path):
    step = copied / checkpoint.FOLDER / "7"
    (step / "files.json").unlink()
    (data,) = step.glob("params/ocdbt.process_0/d/*")
    data.write_bytes(damaged(data.read_bytes(), "flip"))
    with pytest.raises(ValueError, match="/7: damaged"):
        checkpoint.load(step)


# Errors of the moment, which are no damage


def loading_fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Has Orbax fail to load."""

    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", load)


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", "params"),
        ValueError("RESOURCE_EXHAUSTED: Error opening: Too many open files [source locations]"),
        MemoryError(),
    ],
)
def test_an_error_of_the_moment_stops_the_command(
    capsys, copied: Path, monkeypatch, error: Exception, is_listed: bool
):
    step = copied / checkpoint.FOLDER / "7"
    if not is_listed:
        (step / "files.json").unlink()
    loading_fails(monkeypatch, error)
    for load in (checkpoint.load, checkpoint.load_progress):
        with pytest.raises(OSError, match=rf"{step}: cannot be read \({type(error).__name__}"):
            load(copied)
    assert capsys.readouterr().err == ""


def test_what_fails_with_all_files_unchanged_is_no_damage(copied: Path, monkeypatch):
    loading_fails(monkeypatch, KeyError("params"))
    with pytest.raises(OSError, match="/7: cannot be read"):
        checkpoint.load(copied)


def test_a_file_that_cannot_be_opened_is_no_damage(copied: Path, monkeypatch):
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint.identity, "of_file", denied)
    with pytest.raises(PermissionError):
        checkpoint.load(copied)


@contextlib.contextmanager
def open_files_left(count: int) -> Iterator[None]:
    """Lets the process open only so many files more."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, limit[1]))
    opened = []
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(opened.pop())
        yield
    finally:
        for number in opened:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


# Orbax's event loops that could not open their sockets, of which users see nothing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_many_open_files_are_no_damage(capsys, copied: Path, count: int):
    with open_files_left(count), pytest.raises(OSError, match="Too many open files"):
        checkpoint.load(copied)
    assert capsys.readouterr().err == ""
    assert checkpoint.load(copied).step == 7


def test_a_file_of_weights_that_cannot_be_opened_is_no_damage(tmp_path: Path):
    weights.write(make_net(5), tmp_path / "net.safetensors")
    with open_files_left(0), pytest.raises(OSError, match="Too many open files"):
        checkpoint.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("is_watched", [False, True])
def test_an_interrupt_is_no_damage(copied: Path, monkeypatch, is_watched: bool):
    def load(*_: object, **__: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ValueError("of what the interrupt left")

    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", load)
    if is_watched:
        with signals.watched(), pytest.raises(signals.Stopped):
            checkpoint.load(copied)
    else:
        with pytest.raises(KeyboardInterrupt):
            checkpoint.load(copied)


def test_a_tool_does_not_care_about_the_optimizer(copied: Path):
    for file in (copied / checkpoint.FOLDER / "7" / "optimizer").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    assert_same_net(checkpoint.load(copied), make_net(7, seed=7))


def test_all_steps_damaged(capsys, copied: Path):
    for step in (3, 7):
        shutil.rmtree(copied / checkpoint.FOLDER / str(step) / "params")
    for load in (checkpoint.load, checkpoint.load_progress):
        with pytest.raises(ValueError, match=r"/3: damaged, params/\S+ does not match its digest$"):
            load(copied)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_a_damaged_validation_counts_for_nothing(capsys, copied: Path, how):
    file = copied / checkpoint.FOLDER / "3" / "metrics" / "metrics"
    file.write_bytes(damaged(file.read_bytes(), how))
    for _ in range(2):
        with Checkpoints(copied, 9) as checkpoints:
            assert checkpoints.best() is None
            checkpoints.save(make_progress(9))
    assert capsys.readouterr().err == (
        f"warning: checkpoint {file.parents[1]}: its validation is damaged, left out\n"
    )
    assert checkpoint.steps(copied) == [3, 7, 9]


def test_a_step_that_cannot_be_written(copied: Path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise ValueError("OUT_OF_RANGE: " + "x" * 500 + ": No space left on device")

    with Checkpoints(copied, 9) as checkpoints:
        monkeypatch.setattr(checkpoints._checkpointer, "save_checkpointables", full)
        with pytest.raises(OSError, match=r"/9: not written, .*No space left on device\)$"):
            checkpoints.save(make_progress(9))
    assert checkpoint.load(copied).step == 7


# What is no checkpoint


@pytest.mark.parametrize("name", ["nothing", "nothing/5", "empty", "foreign.txt", "5.npz", "five"])
def test_there_is_none(tmp_path: Path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "five").mkdir()
    (tmp_path / "foreign.txt").write_text("{}")
    expected = f"checkpoint {tmp_path / name}: expected a run's folder"
    with pytest.raises(ValueError) as error:  # noqa: PT011
        checkpoint.load(tmp_path / name)
    assert str(error.value).startswith(expected)


def test_a_run_without_steps(tmp_path: Path):
    (tmp_path / checkpoint.FOLDER).mkdir()
    with pytest.raises(ValueError, match="expected at least one step in checkpoints/, there is"):
        checkpoint.load(tmp_path)


def test_a_foreign_step(tmp_path: Path):
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "model.bin").write_bytes(b"weights")
    with pytest.raises(ValueError, match="/5: damaged"):
        checkpoint.load(tmp_path / "5")


def test_another_architecture_s_arrays():
    net = make_net(1)
    description = nets.to_json(net)
    other = dataclasses.replace(net, config=TrainConfig(architecture=ZFNET_SMALL))
    with pytest.raises(ValueError, match="expected the architecture's"):
        nets.from_json(nets.to_json(other), net.params, net.preprocessing.mean)
    for missing in ("config", "step", "class_names", "preprocessing"):
        some = {key: value for key, value in description.items() if key != missing}
        with pytest.raises(ValueError, match="description of a net"):
            nets.from_json(some, net.params, net.preprocessing.mean)
    fewer = {name: layer for name, layer in net.params.items() if name != "conv2"}
    with pytest.raises(ValueError, match="expected the architecture's"):
        nets.from_json(description, fewer, net.preprocessing.mean)
    with pytest.raises(ValueError, match="expected the architecture's"):
        nets.from_json(description | {"class_names": ["one"]}, net.params, net.preprocessing.mean)
    with pytest.raises(ValueError, match="mean of shape"):
        nets.from_json(description, net.params, net.preprocessing.mean[1:])


def test_a_net_that_comes_with_the_package_is_found_by_name(tmp_path: Path, monkeypatch):
    weights.write(make_net(7), tmp_path / "mine.safetensors")
    monkeypatch.setattr(resources, "_folder", lambda kind: tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert checkpoint.load("mine").step == 7
    assert checkpoint.load(Path("mine")).step == 7
    with pytest.raises(ValueError, match=r"checkpoint yours: expected a run.*package \(mine\)$"):
        checkpoint.load("yours")


# The same net in one file


def test_a_file_loads(tmp_path: Path):
    net = make_net(5)
    weights.write(net, tmp_path / "é.safetensors", jnp.float32)
    assert_same_net(checkpoint.load(tmp_path / "é.safetensors"), net)
    assert [path.name for path in tmp_path.iterdir()] == ["é.safetensors"]


def test_a_file_of_half_precision(tmp_path: Path):
    net = make_net(5)
    weights.write(net, tmp_path / "net.safetensors")
    loaded = checkpoint.load(tmp_path / "net.safetensors")
    assert_same_net(loaded, net, params_too=False)
    for one, other in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(net.params), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, other.astype(jnp.bfloat16).astype(jnp.float32))


def test_a_net_of_a_run_in_a_file(finished: Finished, tmp_path: Path):
    net = checkpoint.load(finished.run)
    weights.write(net, tmp_path / "net.safetensors", jnp.float32)
    assert_same_net(checkpoint.load(tmp_path / "net.safetensors"), net)
    assert bits_of(finished.run)  # which writing left alone


def test_damage_to_a_file_is_noticed(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    weights.write(make_net(5), path)
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    name = data.index(b"mine")
    for offset in (0, 3, 9, name, header - 20, header, header + 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x04]) + data[offset + 1 :])
        with pytest.raises(ValueError, match=r"net\.safetensors: "):
            checkpoint.load(path)
    for length in (0, 7, header // 2, header, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"net\.safetensors: damaged"):
            checkpoint.load(path)


def test_a_foreign_file(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match="expected a file, there is none"):
        checkpoint.load(path)
    save_file({"conv1.weight": jnp.ones((3, 3))}, path)
    with pytest.raises(ValueError, match="expected a net that zfnet_jax wrote"):
        checkpoint.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="expected a file"):
        checkpoint.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch):
    path = tmp_path / "net.safetensors"
    weights.write(make_net(5), path)
    before = path.read_bytes()

    def full(_: object, partial: Path, __: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        weights.write(make_net(6), path)
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
    assert path.read_bytes() == before


def test_a_description_is_json(saved: Path):
    description = nets.to_json(checkpoint.load(saved))
    assert json.loads(json.dumps(description)) == description
