"""Signals that ask a command to stop: SIGINT (Ctrl-C) and SIGTERM.

A handler that raises is not safe: the exception appears wherever the main thread is, and a library
may swallow it or take it for an error of its own. So the handlers here only note the signal, and
`check` raises `Stopped` where nothing can be torn: the loops over batches call it. A thread sees to
it that the process ends `GRACE` seconds after the signal even where nothing calls `check`, as in an
import or a compilation; a second signal ends it at once. Files appear only when they are whole
(`core.files`), so either end leaves none that is half-written.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

GRACE = 1.0
"""Seconds from a signal to the end of the process where the main thread does not stop."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL = 0.05  # seconds between two looks at whether everything is saved
_ECHO = 0.1  # seconds in which a signal repeats the first: `timeout` and others send it twice
_PATIENCE = 5.0  # seconds that the end of the process waits for an undivided change of files


class Stopped(SystemExit):
    """The command stops because of a signal; `code` is 128 + the signal's number.

    Attributes:
      saved: whether the same command goes on from where this one stopped.
    """

    def __init__(self, number: int, saved: bool) -> None:
        super().__init__(128 + number)
        self.saved = saved


class _Requests:
    """What the process was asked.

    Attributes:
      watched: whether signals are noted.
      number: the first one that was; None before it.
      unsaved: asked before the process is ended without the main thread.
      clearing: called before that.
      undivided: held during changes that must not be torn.
    """

    def __init__(self) -> None:
        self.watched = False
        self.number: int | None = None
        self.unsaved: list[Callable[[], bool]] = []
        self.clearing: list[Callable[[], None]] = []
        self.undivided = threading.RLock()


_requests = _Requests()


def watch() -> Callable[[], None]:
    """Has signals noted from now on, in place of interrupting the process.

    To be called in the main thread, before a command imports what takes time.

    Returns:
      What undoes it; not called, it stays until the process has ended.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    wakeup = sender.detach()
    _requests.watched, _requests.number = True, None
    handlers = {number: signal.signal(number, _note) for number in _SIGNALS}
    # The interpreter writes a signal's number there even while the main thread runs native code.
    earlier_wakeup = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(receiver,), name="signals", daemon=True)
    thread.start()
    atexit.register(_finish)

    def undo() -> None:
        atexit.unregister(_finish)
        signal.set_wakeup_fd(earlier_wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        socket.close(wakeup)  # which ends the thread
        thread.join()
        _requests.watched, _requests.number = False, None

    return undo


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """`watch` for a block; where signals are watched, or in another thread, does nothing."""
    if _requests.watched or threading.current_thread() is not threading.main_thread():
        yield
        return
    undo = watch()
    try:
        yield
    finally:
        undo()


def note(number: int) -> None:
    """Notes a signal that reached this process in another way, such as through JAX."""
    if _requests.number is None:
        _requests.number = number


def check(*, saved: bool = False) -> None:
    """Raises `Stopped` if a signal was noted; outside the main thread, does nothing.

    Args:
      saved: whether the same command goes on from here.
    """
    if _requests.number is not None and threading.current_thread() is threading.main_thread():
        raise Stopped(_requests.number, saved)


@contextlib.contextmanager
def saving(unsaved: Callable[[], bool]) -> Iterator[None]:
    """Lets the main thread save what would be lost by a first signal, however long it takes.

    Args:
      unsaved: whether there is anything to save; another thread asks it.
    """
    _requests.unsaved.append(unsaved)
    try:
        yield
    finally:
        _requests.unsaved.remove(unsaved)


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Keeps a quick change of several files whole: no signal ends the process inside."""
    with _requests.undivided:
        yield


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Lets a Ctrl-C that comes inside take effect at the end of the block.

    For code that swallows the exceptions of handlers. Outside `watched`, as in a notebook, the
    handler of Python or of the caller is called at the end.
    """
    if _requests.watched or threading.current_thread() is not threading.main_thread():
        try:
            yield
        finally:
            check()
        return
    arrived: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def finally_calling(clear: Callable[[], None]) -> Iterator[None]:
    """Calls a function at the end of the block, also where the process ends inside it."""
    _requests.clearing.append(clear)
    try:
        yield
    finally:
        clear()
        _requests.clearing.remove(clear)


def _note(number: int, _: FrameType | None) -> None:
    note(number)


def _finish() -> None:
    """Answers a signal that came after the last check, and has later ones ignored.

    The interpreter, which is about to end, would restore the default handlers.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if _requests.number is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + _requests.number)


def _watch(receiver: socket.socket) -> None:
    """Ends the process after a second signal, or `GRACE` seconds after all is saved."""
    first: int | None = None
    arrival = deadline = 0.0
    while True:
        receiver.settimeout(None if first is None else _POLL)
        try:
            received = receiver.recv(1)
        except TimeoutError:
            received = None
        if received == b"":
            receiver.close()
            return
        now = time.monotonic()
        if received and received[0] in _SIGNALS:
            if first is None:
                first, arrival, deadline = received[0], now, now + GRACE
                note(first)
            elif now > arrival + _ECHO:
                _end(first)
        if first is None:
            continue
        if any(unsaved() for unsaved in tuple(_requests.unsaved)):
            deadline = now + GRACE
        elif now >= deadline:
            _end(first)


def _end(number: int) -> None:
    """Ends the process without waiting for the main thread, which may be in native code."""
    _requests.undivided.acquire(timeout=_PATIENCE)
    for clear in reversed(_requests.clearing):  # of the inner block first
        with contextlib.suppress(OSError):
            clear()
    os._exit(128 + number)
