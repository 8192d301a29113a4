"""What the transform reads of a traced function: the one module that knows JAX's internals.

A traced function is a jaxpr: a list of equations, some of which hold jaxprs of their own (jit,
scan, remat, ...).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.interpreters.partial_eval import dce_jaxpr

__all__ = ["ClosedJaxpr", "Jaxpr", "JaxprEqn", "Literal"]

CALLS = ("jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2")
"""Primitives that call one function with their own operands."""


def without_dead_code(closed: ClosedJaxpr) -> Jaxpr:
    """The equations that a traced function's results depend on."""
    outputs = [True] * len(closed.jaxpr.outvars)
    jaxpr, _ = dce_jaxpr(closed.jaxpr, outputs, instantiate=True)
    return jaxpr


def bind(equation: JaxprEqn, operands: Sequence[Any]) -> Sequence[Any]:
    """An equation's results for some operands."""
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # a tuple in jax 0.7
    results = equation.primitive.bind(*functions, *operands, **params)
    return results if equation.primitive.multiple_results else [results]


def called_name(equation: JaxprEqn) -> str:
    """The name of the function that an equation calls, "" where it calls none."""
    if equation.primitive.name in CALLS and "name" in equation.params:
        return equation.params["name"]
    body = equation.params.get("call_jaxpr")
    return body.jaxpr.debug_info.func_name.split(" ")[0] if isinstance(body, ClosedJaxpr) else ""


def bodies(equation: JaxprEqn) -> list[ClosedJaxpr]:
    """The jaxprs that an equation holds."""
    values = [
        part
        for value in equation.params.values()
        for part in (value if isinstance(value, tuple | list) else (value,))
    ]
    # Since jax 0.12 both are one type, and such a body has its constants with it.
    return [
        value if isinstance(value, ClosedJaxpr) else ClosedJaxpr(value, ())
        for value in values
        if isinstance(value, ClosedJaxpr | Jaxpr)
    ]


def scan_operands(equation: JaxprEqn) -> tuple[int, int]:
    """How many of a scan's operands are the same in every step, and how many it carries on.

    Derived from shapes, since the parameters' names change with JAX: what is sliced, and what is
    stacked, has one axis more outside the body than within.
    """
    body = equation.params["jaxpr"].jaxpr

    def unchanged(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        pairs = zip(outside, inside, strict=True)
        return sum(shape_and_dtype(one)[0] == shape_and_dtype(other)[0] for one, other in pairs)

    carried = unchanged(equation.outvars, body.outvars)
    return unchanged(equation.invars, body.invars) - carried, carried


def shape_and_dtype(atom: Any) -> tuple[tuple[int, ...], Any]:
    """The shape and type of a value of a jaxpr."""
    return atom.aval.shape, atom.aval.dtype


def is_differentiable(variable: Any) -> bool:
    """Whether a variable is of a type that has derivatives."""
    return jnp.issubdtype(getattr(variable.aval, "dtype", np.bool_), jnp.inexact)


def is_zero(value: Any) -> bool:
    """Whether a constant is known to be zero everywhere."""
    if isinstance(value, Tracer) or jnp.issubdtype(jnp.result_type(value), jax.dtypes.extended):
        return False
    return not np.any(np.asarray(value))


def source_location(equation: JaxprEqn) -> str:
    """Where in the user's code an equation comes from: " at model.py:12", or "" if unknown."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if is_user_code(frame.file_name):
            return f" at {Path(frame.file_name).name}:{frame.line_num}"
    return ""


def scope(equation: JaxprEqn) -> str:
    """The named scope that an equation stands in, such as Linen's " in Net/Block_0", or ""."""
    name = str(equation.source_info.name_stack)
    return f" in {name}" if name else ""


def is_user_function(body: ClosedJaxpr) -> bool:
    """Whether the function that a jaxpr was traced from is the user's, not a library's."""
    return is_user_code(body.jaxpr.debug_info.func_src_info.partition(" at ")[2])


def is_user_code(file: str) -> bool:
    """Whether a file of code is the user's, not an installed library's."""
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)
