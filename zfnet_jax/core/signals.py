"""Signals that ask a command to stop."""

import signal
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Whether the run was asked to stop, by SIGTERM or Ctrl-C; a context manager.

    With several processes JAX's coordinator takes SIGTERM over and lets all stop at one step.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        # A second request, while the first is being obeyed, is obeyed at once.
        signal.signal(number, self._before[number])
        self.signal = number

    def noted(self) -> bool:
        """Whether this process was asked; several processes may not agree at any moment."""
        return self.signal is not None

    def agreed(self, step: int) -> bool:
        """Whether all processes are to save and stop after this step; each asks at every step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
        return self.signal is not None
