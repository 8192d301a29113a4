import io

import pytest

from zfnet_jax.core import progress
from zfnet_jax.core.progress import Reporter, tracked
from zfnet_jax.training.display import Display


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stderr that a person sees."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of everything that reports."""
    clock = Clock()
    monkeypatch.setattr(progress.Reporter.__init__, "__defaults__", (clock,))
    return clock


def test_a_reporter_prints_a_line_at_least_every_ten_seconds_of_work(capsys, clock: Clock):
    reporter = Reporter()
    for clock.now in range(0, 31, 4):
        reporter.maybe_say(lambda: f"at {clock.now}")
    assert capsys.readouterr().out.splitlines() == ["at 12", "at 24"]


def test_without_a_terminal_training_prints_lines(capsys, clock: Clock):
    with Display(6, 20) as display:
        display.working_on("compiling the training step")
        for step in range(7, 13):
            clock.now += 6
            display.step(step, loss=1.5, top1=0.25, speed=130.4)
        display.say("epoch 1")
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "compiling the training step",
        *(f"step {n} of 20: loss 1.500, top-1 25%, 130 images/s" for n in (8, 10, 12)),
        "epoch 1",
    ]
    assert err == ""


def test_on_a_terminal_training_draws_a_bar(capsys, monkeypatch, clock: Clock):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Display(6, 20) as display:
        clock.now += 60
        display.step(7, loss=1.5, top1=0.25, speed=130.4)
        display.say("epoch 1")
    assert capsys.readouterr().out == "epoch 1\n"
    assert "7/20" in terminal.getvalue()


def test_of_several_processes_one_shows(capsys, clock: Clock):
    with Display(6, 20, active=False) as display:
        display.working_on("compiling")
        clock.now += 60
        display.step(7, loss=1.5, top1=0.25, speed=130.4)
        display.say("epoch 1")
    assert list(tracked(range(3), "mean", total=3, silent=True)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_long_work_is_named_at_once_and_then_every_ten_seconds(capsys, clock: Clock):
    for item in tracked(range(5), "mean of the training set", total=5):
        if item == 0:
            assert capsys.readouterr().out == "mean of the training set\n"
        clock.now += 6
    assert capsys.readouterr().out.splitlines() == [
        "mean of the training set: batch 2 of 5",
        "mean of the training set: batch 4 of 5",
    ]


def test_short_work_may_say_nothing(capsys, clock: Clock):
    assert list(tracked(range(5), "validation", total=5, at_once=False)) == list(range(5))
    assert capsys.readouterr() == ("", "")
