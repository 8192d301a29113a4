"""How long work shows that it goes on: a bar on a terminal, elsewhere a line every ten seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

INTERVAL = 10.0
"""Seconds of work without a line, at most, where there is no terminal."""

_T = TypeVar("_T")


def on_terminal() -> bool:
    """Whether a person sees a progress bar: bars go to stderr."""
    return sys.stderr.isatty()


class Reporter:
    """Prints lines to stdout, at most one every ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last = clock, clock()

    def maybe_say(self, line: Callable[[], str]) -> None:
        """Prints the line if there was none for ten seconds."""
        if self._clock() - self._last >= INTERVAL:
            self.say(line())

    def say(self, line: str) -> None:
        """Prints a line now."""
        print(line, flush=True)
        self._last = self._clock()


def tracked(
    items: Iterable[_T],
    what: str,
    *,
    total: int,
    unit: str = "batch",
    at_once: bool = True,
    silent: bool = False,
) -> Iterator[_T]:
    """Yields items, and shows how many of them are done.

    Args:
      items: what to yield.
      what: the name of the work.
      total: how many items there are.
      unit: what an item is called.
      at_once: whether to name the work when it begins where there is no terminal.
      silent: whether to show nothing; of several processes one shows.
    """
    if silent:
        yield from items
        return
    if on_terminal():
        yield from tqdm(items, what, total=total, leave=False, unit=unit)
        return
    reporter = Reporter()
    if at_once:
        reporter.say(what)
    for done, item in enumerate(items):
        reporter.maybe_say(lambda done=done: f"{what}: {unit} {done} of {total}")
        yield item
