"""The console command `zfnet-jax COMMAND`, also `python -m zfnet_jax COMMAND`."""

import importlib
import io
import sys
from collections.abc import Sequence

from zfnet_jax import __version__
from zfnet_jax.commands import COMMANDS
from zfnet_jax.core import signals


def console(*command: str) -> None:
    """Runs the process's own command line, after the words given; a process starts here.

    Args:
      *command: nothing, or the name of a command.

    Raises:
      SystemExit: as `main`.
    """
    # First, since a command takes seconds to import.
    signals.watch()
    # So that a pipe, too, gets every line when it is written, and none is lost with an early end.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    main([*command, *sys.argv[1:]])


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command; without one, or with --help, lists them.

    Args:
      args: the command line without the program's name; None takes the process's own.

    Raises:
      SystemExit: with code 2 where there is no such command; else as the command does.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        print(f"zfnet-jax {__version__}")
        return
    name, *rest = words
    names = [name for group in COMMANDS.values() for name in group]
    if name not in names:
        print(f"error: command {name!r}: expected one of {', '.join(names)}", file=sys.stderr)
        raise SystemExit(2)
    # Only the module of this command, since each takes time to import.
    command = importlib.import_module(f"zfnet_jax.commands.{name.replace('-', '_')}")
    command.run(rest)


def _help() -> str:
    width = max(len(name) for group in COMMANDS.values() for name in group)
    lines = ["usage: zfnet-jax COMMAND [OPTIONS]", ""]
    for title, group in COMMANDS.items():
        lines += [f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in group.items()), ""]
    lines += [
        "zfnet-jax COMMAND --help shows the options of a command.",
        "Example: zfnet-jax train && zfnet-jax deconv --ckpt runs/shapes",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    console()
