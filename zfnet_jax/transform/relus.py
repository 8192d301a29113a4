"""Finding the ReLUs of a traced function.

A ReLU is a maximum of zero and a value that depends on the images, whatever wrote it:
`jax.nn.relu`, `jnp.maximum(x, 0)`, `lax.max`. That a value is zero is known from constants and from
what reshapes them, into every call.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.interpreters.partial_eval import dce_jaxpr

from zfnet_jax.transform.rewriting import RUNNERS, Open, Plan, Relu, Skip, form, kept_and_carried

_SAME_VALUE = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "optimization_barrier",
    "pvary",
    "reshape",
    "squeeze",
}
# What combines two values of a reduction or a scatter is no function of maps.
_SCALAR = ("reduce", "scatter", "select_and")
# Functions whose maximum with zero is no ReLU: that in log(exp(a) + exp(b)), of which softplus is
# the case b = 0, is a part of a smooth function, and others are gates or smooth themselves.
_OTHER = {"celu", "hard_sigmoid", "logaddexp", "logaddexp2", "sparse_sigmoid"}


class Known(NamedTuple):
    """What is known of a value.

    Attributes:
      zero: whether it is zero everywhere.
      active: whether a signal can come back from it to the images.
    """

    zero: bool
    active: bool


def find(closed: ClosedJaxpr, active: Sequence[bool], skipped: Sequence[str]) -> Plan:
    """Finds the ReLUs that a function's results depend on, and its calls of some functions.

    Args:
      closed: the traced function.
      active: which of its operands are images.
      skipped: the names of functions (under `jax.jit`, `jax.custom_vjp` or `jax.custom_jvp`) that
        a signal is to pass unchanged, to the one operand that is like their result.

    Returns:
      The plan.

    Raises:
      ValueError: there is a ReLU where it cannot be replaced; a skipped function has several
        results, or not one operand that is like its result.
    """
    outputs = [True] * len(closed.jaxpr.outvars)
    jaxpr, _ = dce_jaxpr(closed.jaxpr, outputs, instantiate=True)
    return _find(jaxpr, closed.consts, [Known(False, each) for each in active], skipped)


def _find(
    jaxpr: Jaxpr, consts: Sequence[Any], given: Sequence[Known], skipped: Sequence[str]
) -> Plan:
    values = dict(zip(jaxpr.invars, given, strict=True))
    values |= {
        var: Known(_is_zero(value), False)
        for var, value in zip(jaxpr.constvars, consts, strict=True)
    }

    def known(atom: Any) -> Known:
        return Known(_is_zero(atom.val), False) if isinstance(atom, Literal) else values[atom]

    found: dict[int, Relu | Skip | Open] = {}
    for number, equation in enumerate(jaxpr.eqns):
        name, operands = equation.primitive.name, [known(atom) for atom in equation.invars]
        active = name != "stop_gradient" and any(each.active for each in operands)
        for var in equation.outvars:
            # Of whole numbers there is no derivative.
            inexact = jnp.issubdtype(getattr(var.aval, "dtype", np.bool_), jnp.inexact)
            values[var] = Known(name in _SAME_VALUE and operands[0].zero, active and inexact)
        action = _action(equation, operands, skipped)
        # Only a bare maximum; who writes jax.nn.relu means one.
        bare = _name(equation) in ("", "clip") and not isinstance(action, Skip)
        if action and not (bare and _is_variance(equation.outvars[0], jaxpr)):
            found[number] = action
    return Plan(jaxpr, consts, found)


def _is_variance(var: Any, jaxpr: Jaxpr) -> bool:
    """Whether a value, with something added to it, is only ever taken the root of.

    A normalisation keeps its variance from falling below zero by rounding; that is no ReLU.
    """
    users = [each for each in jaxpr.eqns if any(atom is var for atom in each.invars)]
    returned = any(atom is var for atom in jaxpr.outvars)
    return (
        bool(users)
        and not returned
        and all(
            _is_root(each)
            or (
                each.primitive.name in _SAME_VALUE | {"add"}
                and _is_variance(each.outvars[0], jaxpr)
            )
            for each in users
        )
    )


def _is_root(equation: JaxprEqn) -> bool:
    if equation.primitive.name == "pow":
        exponent = equation.invars[1]
        return isinstance(exponent, Literal) and abs(float(exponent.val)) == 0.5
    return equation.primitive.name in ("sqrt", "rsqrt")


def _action(
    equation: JaxprEqn, given: Sequence[Known], skipped: Sequence[str]
) -> Relu | Skip | Open | None:
    if equation.primitive.name == "max":
        one, other = given
        operand = 1 if one.zero else 0
        return Relu(operand) if (one.zero or other.zero) and given[operand].active else None
    name = _name(equation)
    if name in skipped:
        return Skip(name, _alike(equation, name))
    if name in _OTHER:
        return None
    bodies = list(_bodies(equation, given))
    plans = tuple(_find(body.jaxpr, body.consts, known, skipped) for body, known in bodies)
    if not any(plan.actions for plan in plans):
        return None
    if equation.primitive.name not in RUNNERS:
        hint = "; expected lax.scan, or a fori_loop with fixed bounds"
        raise ValueError(
            f"ReLU in a {equation.primitive.name}{place(equation)}: it cannot be replaced there"
            f"{hint if equation.primitive.name == 'while' else ''}"
        )
    return Open(plans)


def _name(equation: JaxprEqn) -> str:
    """The name of the function that an equation calls, "" where it calls none."""
    if "name" in equation.params and equation.primitive.name in RUNNERS:
        return equation.params["name"]
    body = equation.params.get("call_jaxpr")
    return body.jaxpr.debug_info.func_name.split(" ")[0] if isinstance(body, ClosedJaxpr) else ""


def _alike(equation: JaxprEqn, name: str) -> int:
    """Which operand of a skipped function is like its only result."""
    wanted = [form(var) for var in equation.outvars]
    given = [form(atom) for atom in equation.invars]
    if len(wanted) != 1 or given.count(wanted[0]) != 1:
        raise ValueError(
            f"skipped function {name!r}: operands {given} and results {wanted}, expected one "
            "result, and one operand like it"
        )
    return given.index(wanted[0])


def _bodies(
    equation: JaxprEqn, given: Sequence[Known]
) -> Iterator[tuple[ClosedJaxpr, Sequence[Known]]]:
    """The jaxprs that an equation holds, and what is known of their operands."""
    name = equation.primitive.name
    if name.startswith(_SCALAR):
        return
    unknown = Known(False, any(each.active for each in given))
    if name == "scan":
        # What a scan carries may be zero before the first step only, and active after it.
        first, carried = kept_and_carried(equation)
        given = [*given[:first], *[unknown] * carried, *given[first + carried :]]
    if name == "cond":
        given = given[1:]  # no branch gets the index
    for value in equation.params.values():
        for body in value if isinstance(value, tuple | list) else (value,):
            # Since jax 0.12 both are one type, and such a body has its constants with it.
            if isinstance(body, Jaxpr) and not isinstance(body, ClosedJaxpr):
                body = ClosedJaxpr(body, ())
            if isinstance(body, ClosedJaxpr):
                wanted = len(body.jaxpr.invars)
                same = name != "while" and len(given) == wanted
                yield body, given if same else [unknown] * wanted


def _is_zero(value: Any) -> bool:
    if isinstance(value, Tracer) or jnp.issubdtype(jnp.result_type(value), jax.dtypes.extended):
        return False
    return not np.any(np.asarray(value))


def place(equation: JaxprEqn) -> str:
    """Where in the user's own code an equation comes from: " at model.py:12", or "" if unknown."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if is_own(frame.file_name):
            return f" at {Path(frame.file_name).name}:{frame.line_num}"
    return ""


def is_own(file: str) -> bool:
    """Whether a file of code is the user's, not an installed library's."""
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)
