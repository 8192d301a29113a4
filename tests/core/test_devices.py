import contextlib
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_runs import (
    TRAIN,
    Finished,
    Zfnet,
    bits_of,
    coordinator_address,
    each_step_once,
    lines_of,
)
from jax.sharding import AxisType

from zfnet_jax.commands import train
from zfnet_jax.core import devices
from zfnet_jax.training import checkpoint

pytest_plugins = ["tiny_runs"]

# Sums in another order; what ten steps of a net of this size make of that.
ROUNDING = 2e-4


def values_of(lines: list[dict[str, Any]], last_step: int) -> dict[tuple[str, int, str], float]:
    """Loss, accuracies and rate by split and step."""
    return {
        (line["split"], line["step"], name): line[name]
        for line in lines
        if line["step"] <= last_step
        for name in ("loss", "top1", "learning_rate")
    }


def earlier_part(finished: Finished, run: Path, step: int) -> None:
    """A run that stopped at a step."""
    shutil.copytree(
        finished.run / checkpoint.FOLDER / str(step), run / checkpoint.FOLDER / str(step)
    )
    shutil.copy(finished.run / "config.json", run)
    shutil.copy(finished.run / "metrics.jsonl", run)


# One process


@pytest.mark.slow
def test_eight_devices_and_one_see_the_same(zfnet: Zfnet, finished: Finished, tmp_path: Path):
    run = tmp_path / "run"
    earlier_part(finished, run, step=2)  # of one device
    result = zfnet.train(run, "--train.max-steps", 10, JAX_NUM_CPU_DEVICES="8")
    assert (result.returncode, result.stderr) == (0, "")
    result = zfnet.train(run, "--train.max-steps", 12)  # and on one again
    assert (result.returncode, result.stderr) == (0, "")
    between = ("val", 10)  # the end of a limit is validated
    lines = [line for line in lines_of(run) if (line["split"], line["step"]) != between]
    assert values_of(lines, 12) == pytest.approx(
        values_of(lines_of(finished.run), 12), rel=ROUNDING
    )
    assert values_of(lines, 2) == values_of(lines_of(finished.run), 2)
    assert each_step_once(run)
    earlier_part(finished, tmp_path / "same", step=12)
    assert bits_of(run) != bits_of(tmp_path / "same")  # so that it was another computation


def test_a_batch_that_does_not_divide_is_refused(capsys, zfnet: Zfnet, tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(SystemExit, match="2"):
        train.run(list(map(str, (*zfnet.options(run), "--train.batch-size", 12))))
    said = capsys.readouterr().err
    assert said == "error: batch size 12: expected a multiple of 8 devices\n"
    assert not run.exists()


# Several processes


@pytest.mark.slow
def test_two_processes_train_one_net_and_stop_together(
    zfnet: Zfnet, finished: Finished, tmp_path: Path
):
    run = tmp_path / "run"
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(coordinator_address())
        together = []
        for number in range(2):
            position = ("--coordinator", address, "--processes", 2, "--process", number)
            options = (*zfnet.options(run), *position, "--train.epochs", 500)
            together.append(stack.enter_context(zfnet.start(*TRAIN, *options)))
            stack.callback(together[-1].kill)
        log = run / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not log.exists() or log.read_text().count("\n") < 13:
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in together)
            time.sleep(0.05)
        for process in together:
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=120) for process in together]
    assert [process.returncode for process in together] == [143, 143], said
    for out, _ in said:
        assert out.splitlines()[-1] == f"stopped and saved; the same command goes on from {run}"
    lines = lines_of(run)
    assert lines[-1]["step"] == checkpoint.steps(run)[-1] == checkpoint.load(run).step
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == list(range(1, steps[-1] + 1))
    expected = values_of(lines_of(finished.run), 10)
    assert values_of(lines, 10) == pytest.approx(expected, rel=ROUNDING)
    assert each_step_once(run)


def test_the_process_that_is_alone():
    devices.start(None, None, None)
    assert jax.process_count() == 1
    assert devices.rows_of_this_process(24) == slice(0, 24)
    with pytest.raises(ValueError, match="batch size 20: expected a multiple of 8 devices"):
        devices.rows_of_this_process(20)


# Pieces


def test_the_mesh():
    mesh = devices.make_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.shape == {"data": 8}
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_a_batch_is_cut_by_example_and_the_rest_is_whole():
    mesh = devices.make_mesh()
    batch = devices.to_devices(mesh, {"x": np.arange(32).reshape(16, 2)})["x"]
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 2)}
    np.testing.assert_array_equal(batch, np.arange(32).reshape(16, 2))
    whole = devices.replicate(mesh, [np.arange(3), np.float32(2), jnp.int32(3)])
    for leaf, expected in zip(whole, (np.arange(3), 2, 3), strict=True):
        assert len(leaf.addressable_shards) == 8
        assert leaf.is_fully_replicated
        np.testing.assert_array_equal(leaf, expected)
    assert [leaf.dtype for leaf in whole] == [np.int32, np.float32, np.int32]


def test_sum_over_processes_is_exact_to_64_bits():
    tree = (3, np.array([[2**62, -1]]), {"a": 2**33 + 1})
    count, values, rest = devices.sum_over_processes(tree)
    assert (int(count), rest["a"]) == (3, 2**33 + 1)
    assert values.tolist() == [[2**62, -1]]
    assert values.dtype == np.int64


def test_compute_dtype():
    assert devices.compute_dtype("auto") == jnp.float32  # on a CPU
    assert devices.compute_dtype("bfloat16") == jnp.bfloat16
