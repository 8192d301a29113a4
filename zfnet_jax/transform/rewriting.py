"""A traced function with other functions in the place of some of its equations.

A traced function is a jaxpr: a list of equations, some of which hold jaxprs of their own (jit,
scan, remat, ...). A plan says what is to be done with which of them, in all of them; `run` follows
it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal


class Relu(NamedTuple):
    """An equation that is a ReLU of its operand of this number."""

    operand: int


class Skip(NamedTuple):
    """An equation that calls a function by this name, whose signal this operand is to get."""

    name: str
    operand: int


class Open(NamedTuple):
    """An equation with such equations in its own jaxprs, which have these plans."""

    plans: tuple["Plan", ...]


class Plan(NamedTuple):
    """A jaxpr, and what is to be done with some of its equations.

    Attributes:
      jaxpr: the equations.
      consts: the values of its constants.
      actions: by an equation's number what is done with it; the others are left alone.
    """

    jaxpr: Jaxpr
    consts: Sequence[Any]
    actions: Mapping[int, Relu | Skip | Open]


def actions(plan: Plan) -> Iterator[Relu | Skip]:
    """Everything that a plan replaces; what stands once in a scan's body, once."""
    for action in plan.actions.values():
        if isinstance(action, Open):
            for inner in action.plans:
                yield from actions(inner)
        else:
            yield action


def run(plan: Plan, relu: Callable[[Array], Array], operands: Sequence[Any]) -> list[Any]:
    """Runs a function with its ReLUs replaced.

    Args:
      plan: what `find` returned.
      relu: what stands in a ReLU's place, array -> array.
      operands: the function's, flat.

    Returns:
      Its results, flat.
    """
    values = dict(zip(plan.jaxpr.constvars, plan.consts, strict=True))
    values |= dict(zip(plan.jaxpr.invars, operands, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for number, equation in enumerate(plan.jaxpr.eqns):
        given = [read(atom) for atom in equation.invars]
        match plan.actions.get(number):
            case Relu(operand):
                shape, _ = form(equation.outvars[0])
                results = [relu(jnp.broadcast_to(given[operand], shape))]
            case Skip(_, operand):
                (result,) = _bind(equation, given)
                results = [_unchanged(given[operand], lax.stop_gradient(result))]
            case Open(plans):
                bodies = [partial(run, plan, relu) for plan in plans]
                results = RUNNERS[equation.primitive.name](equation, bodies, given)
            case None:
                results = _bind(equation, given)
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in plan.jaxpr.outvars]


def _bind(equation: JaxprEqn, operands: Sequence[Any]) -> Sequence[Any]:
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # a tuple in jax 0.7
    results = equation.primitive.bind(*functions, *operands, **params)
    return results if equation.primitive.multiple_results else [results]


@jax.custom_vjp
def _unchanged(operand: Array, result: Array) -> Array:
    """The result, whose signal the operand gets as it is."""
    return result


_unchanged.defvjp(lambda _, result: (result, None), lambda _, signal: (signal, None))


def kept_and_carried(equation: JaxprEqn) -> tuple[int, int]:
    """How many of a scan's operands are the same in every step, and how many it carries on.

    Told from shapes, since the parameters' names change with JAX: what is sliced, and what is
    stacked, has one axis more outside the body than within.
    """
    body = equation.params["jaxpr"].jaxpr

    def unchanged(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        pairs = zip(outside, inside, strict=True)
        return sum(form(one)[0] == form(other)[0] for one, other in pairs)

    carried = unchanged(equation.outvars, body.outvars)
    return unchanged(equation.invars, body.invars) - carried, carried


def form(atom: Any) -> tuple[tuple[int, ...], Any]:
    """The shape and type of a value of a jaxpr."""
    return atom.aval.shape, atom.aval.dtype


Body = Callable[[Sequence[Any]], list[Any]]
"""A jaxpr of an equation, with its ReLUs replaced: operands -> results."""


def _call(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    return bodies[0](operands)


def _remat(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    options = {name: equation.params[name] for name in ("prevent_cse", "policy")}
    return jax.checkpoint(lambda *given: bodies[0](given), **options)(*operands)


def _scan(equation: JaxprEqn, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    consts, carried = kept_and_carried(equation)

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
    branches = [lambda *given, body=body: body(given) for body in bodies]
    return lax.switch(operands[0], branches, *operands[1:])


RUNNERS: Mapping[str, Callable[[JaxprEqn, Sequence[Body], Sequence[Any]], list[Any]]] = {
    **dict.fromkeys(("jit", "closed_call", "custom_jvp_call", "custom_vjp_call"), _call),
    "remat2": _remat,
    "scan": _scan,
    "cond": _cond,
}
