import dataclasses
import importlib
import itertools
import signal
import time
from pathlib import Path

import pytest
from command_runs import Finished, Zfnet
from conftest import ROOT

from zfnet_jax.commands import COMMANDS, command_line
from zfnet_jax.core import signals

pytest_plugins = ["tiny_runs"]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 0.1

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError(f"the learning rate is {self.learning_rate}, expected more than 0")


def outcome(main, *args: str) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, args)
    return stop.value.code


def one_line(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "│" not in err
    return err


def options(count: int, optimizer: Optimizer = Optimizer()) -> None:
    """Take options.

    Example: zfnet-jax options --count 3

    Args:
      count: how many there are, described in more
        words than a line has room for.
    """
    print(count, optimizer.learning_rate)


def test_arguments_reach_the_function(capsys):
    command_line.run(options, ["--count", "3", "--optimizer.learning-rate", "0.5"])
    assert capsys.readouterr() == ("3 0.5\n", "")


def test_help(capsys):
    assert outcome(options, "--help") == 0
    shown = capsys.readouterr().out
    assert "Example: zfnet-jax options --count 3" in shown
    words = [line.strip("│ ").split() for line in shown.splitlines()]
    text = " ".join(itertools.chain.from_iterable(words))
    assert "described in more words than a line has room for." in text
    assert [line for line in words if line[-1:] == ["more"]] == []


@pytest.mark.parametrize("name", [name for group in COMMANDS.values() for name in group])
def test_the_help_of_each_command(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "100")
    command = importlib.import_module(f"zfnet_jax.commands.{name.replace('-', '_')}")
    with pytest.raises(SystemExit) as stop:
        command.run(["--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert shown.startswith(f"usage: zfnet-jax {name} ")
    assert "{None}" not in shown
    assert str(ROOT) not in shown
    if name != "train":  # whose options are the fields of dataclasses
        assert "(default: None)" not in shown
        assert "(default: )" not in shown
    (example,) = (line for line in shown.splitlines() if line.startswith("Example: "))
    assert example.startswith(f"Example: zfnet-jax {name} ")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ([], "--count"),
        (["--count", "many"], "--count: invalid literal for int() with base 10: 'many'"),
        (["--count"], "--count"),
        (["--count", "1", "--optimizer.learning-rat", "2"], "--optimizer.learning-rat, 2"),
        (["--count", "1", "--optimizer.learning-rat", "2"], "--optimizer.learning-rate"),
        (["--count", "1", "extra"], "extra"),
        (["--count", "1", "--optimizer.learning-rate", "-1"], "-1.0, expected more than 0"),
    ],
)
def test_wrong_options(capsys, args, named):
    assert outcome(options, *args) == 2
    assert named in one_line(capsys)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "error: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "été.png"), None),
        (OSError(28, "No space left on device"), "error: [Errno 28] No space left on device\n"),
        (ValueError(), "error: ValueError\n"),
        (MemoryError(), "error: out of memory\n"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            "error: out of memory: Unable to allocate 9 GiB\n",
        ),
    ],
)
def test_what_a_user_can_put_right_is_one_line(capsys, error, line):
    def main() -> None:
        raise error

    assert outcome(main) == 2
    assert one_line(capsys) == (line or "error: été.png: No such file or directory\n")


def test_bugs_keep_their_tracebacks():
    def main() -> None:
        raise KeyError("conv9")

    with pytest.raises(KeyError):
        command_line.run(main, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_never_lost(capsys, number: int):
    def main() -> None:
        try:
            signal.raise_signal(number)
        except BaseException:  # as libraries do
            print("swallowed")

    assert outcome(main) == 128 + number
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.5, 1.5, 3, 4.5])
def test_a_command_ends_in_two_seconds_whatever_it_is_doing(
    zfnet: Zfnet, finished: Finished, number: int, seconds: float
):
    """It imports, loads, compiles, computes or is about to end."""
    with zfnet.start("-m", "zfnet_jax.evaluate", "--ckpt", finished.run) as process:
        time.sleep(seconds)
        is_over = process.poll() is not None
        start = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate()
        seconds = time.monotonic() - start
    assert err == ""
    if not is_over:
        assert process.returncode == 128 + number or (process.returncode == 0 and out)
        assert process.returncode == 0 or seconds < 2


def test_what_the_same_command_goes_on_from_is_said(capsys, tmp_path: Path):
    def main(saved: bool) -> None:
        with command_line.resumable(tmp_path):
            signal.raise_signal(signal.SIGTERM)
            signals.check(saved=saved)

    assert outcome(main, "--saved", "True") == 143
    said = f"stopped and saved; the same command goes on from {tmp_path}\n"
    assert capsys.readouterr() == (said, "")
    assert outcome(main, "--saved", "False") == 143
    assert capsys.readouterr() == ("", "")


def test_parse_returns_what_was_built():
    assert command_line.parse(Optimizer, ["--learning-rate", "2"]) == Optimizer(2.0)
    assert command_line.parse(Optimizer, [], default=Optimizer(3.0)) == Optimizer(3.0)
