"""Command lines: typed options, and user errors in one line on stderr with exit code 2."""

import contextlib
import functools
import inspect
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from zfnet_jax.core import signals
from zfnet_jax.core.memory import keep_freed_memory
from zfnet_jax.core.text import printable

T = TypeVar("T")


def run(main: Callable[..., object], args: Sequence[str] | None = None) -> None:
    """Calls a function with its arguments taken from the command line.

    Args:
      main: its typed signature gives the options, its docstring the help.
      args: the command line without the program's name; None takes the process's own.

    Raises:
      SystemExit: with code 2 after an error in one line, where `main` raises ValueError or OSError
        (what a user can put right) or the options are wrong; 130 after Ctrl-C and 143 after
        SIGTERM, with nothing half-written; 0 after `--help`.
    """

    keep_freed_memory()
    with signals.watched(), one_line_errors():
        signals.check()
        parse(_bound(main), args, prog=_program(main), config=(tyro.conf.DisallowNone,))()
        signals.check()


def _bound(main: Callable[..., object]) -> Callable[..., Callable[[], object]]:
    """A function that takes the options and returns the call, whose help reads well."""

    def bind(*positional: Any, **named: Any) -> Callable[[], object]:
        return functools.partial(main, *positional, **named)

    signature = inspect.signature(main)
    # What stands for no value, None and (), is no help; the description says what is done then.
    silent = {name for name, one in signature.parameters.items() if one.default in (None, ())}
    hint = tyro.conf.arg(help_behavior_hint="")
    bind.__annotations__ = {
        name: Annotated[kind, hint] if name in silent else kind
        for name, kind in get_type_hints(main, include_extras=True).items()
    }
    vars(bind)["__signature__"] = signature
    # tyro would show the line breaks inside an argument's description.
    bind.__doc__ = re.sub(r"\n {4,}", " ", inspect.getdoc(main) or "")
    return bind


def _program(main: Callable[..., object]) -> str | None:
    """What the help calls a command of this package; None leaves the name of the script."""
    package, _, module = main.__module__.rpartition(".")
    return f"zfnet-jax {module.replace('_', '-')}" if package == __package__ else None


def parse(target: Callable[..., T], args: Sequence[str] | None = None, **options: Any) -> T:
    """`tyro.cli` with its boxed messages about wrong options made one line.

    Args:
      target: a function or a dataclass, as for `tyro.cli`.
      args: the command line without the program's name; None takes the process's own.
      **options: further arguments of `tyro.cli`, such as `default`.

    Returns:
      What `target` returns.

    Raises:
      ValueError: an option is unknown, missing or of the wrong type.
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            result = tyro.cli(target, args=args, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_unbox(messages.getvalue())) from None
    sys.stderr.write(messages.getvalue())
    return result


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process with a line on stderr and code 2 on ValueError, OSError and MemoryError.

    Other exceptions are bugs and keep their tracebacks.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            message = f"{error.filename}: {error.strerror}"
        line = printable(" ".join(message.split())) or type(error).__name__
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        print(f"error: out of memory: {error}".removesuffix(": "), file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Says, where a signal stops the block, whether the same command goes on from a folder."""
    try:
        yield
    except signals.Stopped as stop:
        if stop.saved:
            print(f"stopped and saved; the same command goes on from {folder}")
        raise


def _unbox(message: str) -> str:
    """The text inside tyro's box, without its frame and its pointers to the help text."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message)
    rows = [line.strip("│ ") for line in plain.splitlines() if not line.startswith(("╭", "╰"))]
    sections = re.split(r"─{3,}", " ".join(rows))
    messages = [s.strip() for s in sections if not re.match(r"\s*(For full|Argument) helptext", s)]
    return "; ".join(messages)


def expect(name: str, value: object, holds: bool, form: str) -> None:
    """Raises ValueError, which names the option, unless its value holds."""
    if not holds:
        raise ValueError(f"--{name} {value}: expected {form}")
