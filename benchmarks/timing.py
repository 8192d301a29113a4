"""Timing of several ways to do one thing, in turns."""

import contextlib
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from zfnet_jax.core.devices import processors
from zfnet_jax.experiments.hardware import processor_name


def describe_machine(packages: Sequence[str]) -> str:
    """One line: the processor, how many of them, and the versions of some packages."""
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    python = f"Python {platform.python_version()}"
    return ", ".join([f"{processor_name()} x {processors()}", python, *versions])


_Name = TypeVar("_Name", bound=Hashable)


def interleave(
    calls: Mapping[_Name, Callable[[], object]], rounds: int
) -> dict[_Name, list[float]]:
    """Times every call once a round, after one round that does not count.

    What else the machine does in the meantime hits all of them alike; the order turns with every
    round, so that none always runs in another's wake.

    Args:
      calls: by name, what to time; each must wait for its own result.
      rounds: how often.

    Returns:
      By name, the seconds of each round.
    """
    seconds: dict[_Name, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            calls[name]()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def alone(
    make: Callable[..., Callable[..., object] | None], *args: Any
) -> Callable[..., None] | None:
    """Something to time in a process of its own, where no other library's threads or heap are.

    Args:
      make: called there with the arguments; gives what to time, or None where that cannot be done.
      *args: of `make`; they travel, as `make` does, by pickle.

    Returns:
      A function that has it called once there, with its own arguments, and waits; None where
      `make` gave None.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    # A daemon, so that it ends with this process.
    spawn.Process(target=_serve, args=(there, make, args), daemon=True).start()
    there.close()  # the other end is the child's alone, whose death then ends the wait here
    if not here.recv():
        return None

    def call(*given: Any) -> None:
        here.send(given)
        here.recv()

    return call


def _serve(
    pipe: Connection, make: Callable[..., Callable[..., object] | None], args: tuple[Any, ...]
) -> None:
    call = make(*args)
    pipe.send(call is not None)
    with contextlib.suppress(EOFError):  # the other end is gone: no more is asked
        while call:
            call(*pipe.recv())
            pipe.send(None)


def print_table(seconds: Mapping[str, Sequence[float]], images: int) -> None:
    """Prints the median, the extremes and the speed of each.

    Args:
      seconds: what `interleave` returned.
      images: how many images one call takes.
    """
    width = max(map(len, seconds))
    print(f"{'':{width}}  {'median':>9}  {'fastest':>9}  {'slowest':>9}  {'images/s':>8}")
    for name, times in seconds.items():
        cells = [f"{1000 * t:7.0f}ms" for t in (statistics.median(times), min(times), max(times))]
        print(f"{name:{width}}  {'  '.join(cells)}  {images / statistics.median(times):8.1f}")


def print_ratio(seconds: Mapping[str, Sequence[float]], ours: str, digits: int = 2) -> float:
    """Prints, as the last line, how many times as fast ours is as the fastest of the others.

    Args:
      seconds: what `interleave` returned.
      ours: the name to compare; of the others the one with the smallest median counts.
      digits: after the point.

    Returns:
      The ratio of medians, above 1 where ours is faster.
    """
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    mine = medians.pop(ours)
    best = min(medians, key=lambda name: medians[name])
    ratio = medians[best] / mine
    print(f"ratio {ratio:.{digits}f} (speed of {ours} / speed of {best}, medians)")
    return ratio


def print_cost(seconds: Mapping[str, Sequence[float]], ours: str, plain: str) -> float:
    """Prints, as the last line, how many times as long ours takes as the plain way.

    Args:
      seconds: what `interleave` returned.
      ours: the name of one.
      plain: the name of the other.

    Returns:
      The ratio of medians, below 1 where ours is faster.
    """
    ratio = statistics.median(seconds[ours]) / statistics.median(seconds[plain])
    print(f"ratio {ratio:.2f} (time of {ours} / time of {plain}, medians)")
    return ratio
