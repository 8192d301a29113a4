"""Many small computations as one program, since compiling each on its own takes most of a test."""

from collections.abc import Callable, Sequence
from typing import Any

import jax


def together(functions: Sequence[Callable[..., Any]], arguments: Sequence[Any]) -> list[Any]:
    """The result of each function for its arguments, all compiled as one program.

    Args:
      functions: of arrays.
      arguments: for each function, a tuple of arrays.
    """
    program = jax.jit(
        lambda arguments: [
            function(*operands) for function, operands in zip(functions, arguments, strict=True)
        ]
    )
    return program(list(arguments))
