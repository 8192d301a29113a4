"""A traced function with other functions in the place of some of its equations.

A plan says what is to be done with which equations, in the jaxprs that equations hold, too; `run`
follows it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from zfnet_jax.transform.jaxprs import (
    CALLS,
    Jaxpr,
    JaxprEqn,
    Literal,
    bind,
    scan_operands,
    shape_and_dtype,
)


class Relu(NamedTuple):
    """An equation that is a ReLU of its operand of this number."""

    operand: int


class Skip(NamedTuple):
    """An equation that calls a function by this name; the signal goes to this operand as it is."""

    name: str
    operand: int


class Nested(NamedTuple):
    """An equation whose own jaxprs hold such equations, by the plans of these jaxprs."""

    plans: tuple["Plan", ...]


Action = Relu | Skip | Nested


class Plan(NamedTuple):
    """A jaxpr, and what is to be done with some of its equations.

    Attributes:
      jaxpr: the equations.
      consts: the values of its constants.
      actions: by an equation's number what is done with it; the others stay as they are.
    """

    jaxpr: Jaxpr
    consts: Sequence[Any]
    actions: Mapping[int, Action]


def actions(plan: Plan) -> Iterator[Relu | Skip]:
    """Everything that a plan replaces; an equation in a scan's body counts once."""
    for action in plan.actions.values():
        if isinstance(action, Nested):
            for inner in action.plans:
                yield from actions(inner)
        else:
            yield action


def run(plan: Plan, relu: Callable[[Array], Array], operands: Sequence[Any]) -> list[Any]:
    """Runs a function with its ReLUs replaced.

    Args:
      plan: what `relus.find` returned.
      relu: what replaces a ReLU, array -> array.
      operands: the function's, flat.

    Returns:
      Its results, flat.
    """
    values = dict(zip(plan.jaxpr.constvars, plan.consts, strict=True))
    values |= dict(zip(plan.jaxpr.invars, operands, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for number, equation in enumerate(plan.jaxpr.eqns):
        inputs = [read(atom) for atom in equation.invars]
        match plan.actions.get(number):
            case Relu(operand):
                shape, _ = shape_and_dtype(equation.outvars[0])
                results = [relu(jnp.broadcast_to(inputs[operand], shape))]
            case Skip(_, operand):
                (result,) = bind(equation, inputs)
                results = [_unchanged(inputs[operand], lax.stop_gradient(result))]
            case Nested(plans):
                bodies = [partial(run, inner, relu) for inner in plans]
                results = RUNNERS[equation.primitive.name](equation, bodies, inputs)
            case None:
                results = bind(equation, inputs)
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in plan.jaxpr.outvars]


@jax.custom_vjp
def _unchanged(operand: Array, result: Array) -> Array:
    """The result, whose signal the operand gets as it is."""
    return result


_unchanged.defvjp(lambda _, result: (result, None), lambda _, signal: (signal, None))


Body = Callable[[Sequence[Any]], list[Any]]
"""A jaxpr of an equation, with its ReLUs replaced: operands -> results."""


def _call(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    return bodies[0](operands)


def _remat(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    options = {name: equation.params[name] for name in ("prevent_cse", "policy")}
    return jax.checkpoint(lambda *inputs: bodies[0](inputs), **options)(*operands)


def _scan(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    consts, carried = scan_operands(equation)

    def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        results = bodies[0]([*operands[:consts], *carry, *slices])
        return results[:carried], results[carried:]

    options = {name: equation.params[name] for name in ("length", "reverse", "unroll")}
    carry, stacked = lax.scan(
        step,
        list(operands[consts : consts + carried]),
        list(operands[consts + carried :]),
        **options,
    )
    return [*carry, *stacked]


def _cond(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    branches = [lambda *inputs, body=body: body(inputs) for body in bodies]
    return lax.switch(operands[0], branches, *operands[1:])


RUNNERS: Mapping[str, Callable[[JaxprEqn, Sequence[Body], Sequence[Any]], list[Any]]] = {
    **dict.fromkeys(CALLS, _call),
    "remat2": _remat,
    "scan": _scan,
    "cond": _cond,
}
