"""Signals are noted, and end a process wherever it is."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from zfnet_jax.core import signals

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_signal_is_noted_and_stops_at_the_next_check(number: int):
    before = signal.getsignal(number)
    with signals.watched():
        signals.check()
        signal.raise_signal(number)
        with pytest.raises(signals.Stopped) as stop:
            signals.check()
    assert stop.value.code == 128 + number
    assert signal.getsignal(number) is before
    signals.check()  # of a block that is over


def test_a_check_in_another_thread_does_nothing():
    raised: list[BaseException] = []

    def check() -> None:
        try:
            signals.check()
        except BaseException as error:
            raised.append(error)

    with signals.watched():
        signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
    assert raised == []


def test_a_signal_that_was_agreed_upon():
    with signals.watched():
        signals.note(signal.SIGTERM)
        with pytest.raises(signals.Stopped):
            signals.check()


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_postponed_interrupt_comes_after_the_block(is_watched: bool):
    seen = []

    def load() -> None:
        with signals.postponed():
            signal.raise_signal(signal.SIGINT)
            seen.append("the whole block")

    if is_watched:
        with signals.watched(), pytest.raises(signals.Stopped):
            load()
    else:
        with pytest.raises(KeyboardInterrupt):
            load()
    assert seen == ["the whole block"]


def test_a_postponed_interrupt_comes_before_an_error_of_the_block():
    def load() -> None:
        with signals.postponed():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("which the interrupt caused")

    with pytest.raises(KeyboardInterrupt):
        load()


def ended(code: str, *numbers: int, pause: float = 0) -> tuple[int, str, float]:
    """How a process ends that gets signals after its first line, what it says, and how soon."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "from zfnet_jax.core import signals\n" + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic()
        for number in numbers:
            process.send_signal(number)
            time.sleep(pause)
        said = process.stdout.read()
    return process.returncode, said, time.monotonic() - start


NATIVE = """
import hashlib
signals.watch()
print(flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # in which no Python code of this thread runs
"""

SAVING = """
import time
signals.GRACE = 0.2
signals.watch()
done = False
with signals.saving(lambda: not done):
    print(flush=True)
    time.sleep({})
    print("saved", flush=True)
    done = True
time.sleep(20)
"""

SWALLOWED = """
import time
signals.GRACE = 0.2
signals.watch()
print(flush=True)
while True:
    try:
        time.sleep(20)
    except BaseException:
        pass
"""


@BOTH
@pytest.mark.parametrize("code", [NATIVE, SWALLOWED])
def test_a_process_ends_in_two_seconds_wherever_it_is(number: int, code: str):
    returncode, said, seconds = ended(code, number)
    assert (returncode, said) == (128 + number, "")
    assert seconds < 2


def test_what_is_to_be_saved_is_waited_for():
    returncode, said, seconds = ended(SAVING.format(0.8), signal.SIGTERM)
    assert (returncode, said) == (143, "saved\n")
    assert 0.8 <= seconds < 3


def test_a_second_signal_ends_at_once():
    returncode, said, seconds = ended(SAVING.format(20), signal.SIGINT, signal.SIGINT, pause=0.2)
    assert (returncode, said) == (130, "")
    assert seconds < 2


def test_a_signal_that_is_sent_twice_is_one():
    returncode, said, _ = ended(SAVING.format(0.4), signal.SIGTERM, signal.SIGTERM)
    assert (returncode, said) == (143, "saved\n")


def test_what_must_not_be_torn_is_waited_for():
    code = """
import time
signals.watch()
signals.GRACE = 0.1
with signals.undivided():
    print(flush=True)
    time.sleep(0.7)
    print("whole", flush=True)
time.sleep(20)
"""
    assert ended(code, signal.SIGTERM)[:2] == (143, "whole\n")


def test_a_signal_after_the_last_check_is_not_lost():
    code = """
import os, signal
signals.watch()
print()
print("done")
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert ended(code)[:2] == (143, "done\n")


def test_a_process_that_has_done_its_work_ends_as_it_would():
    code = """
import os, signal
class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGTERM):
        kill(process, number)
signals.watch()
signals.last = Last()  # which the interpreter takes down after it has let go of handlers
print(flush=True)
"""
    assert ended(code)[:2] == (0, "")
