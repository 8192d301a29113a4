"""Finding the ReLUs of a traced function, and its other activations.

A ReLU is a maximum of zero and a value that depends on the images, however it is written:
`jax.nn.relu`, `jnp.maximum(x, 0)`, `lax.max`. That a value is zero is known from constants and from
what reshapes them, into every call. What is a part of another activation is no ReLU.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from zfnet_jax.transform.activations import (
    CONSTANT,
    NO_RELU,
    POINTWISE,
    SAME_VALUE,
    Activation,
    Calls,
    Facts,
    Path,
    Search,
    drop,
    drop_gates,
    fresh_or_constant,
    pointwise,
)
from zfnet_jax.transform.jaxprs import (
    CALLS,
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    bodies,
    called_name,
    is_differentiable,
    is_user_function,
    is_zero,
    scan_operands,
    shape_and_dtype,
    source_location,
    without_dead_code,
)
from zfnet_jax.transform.rewriting import RUNNERS, Action, Nested, Plan, Relu, Skip

# What combines two values of a reduction or a scatter is no function of maps.
_SCALAR = ("reduce", "scatter", "select_and")


class Findings(NamedTuple):
    """What `find` returns.

    Attributes:
      plan: the ReLUs, and the calls of skipped functions.
      others: the activations that are no ReLU.
    """

    plan: Plan
    others: tuple[Activation, ...]


def find(closed: ClosedJaxpr, active: Sequence[bool], skipped: Sequence[str]) -> Findings:
    """Finds the ReLUs that a function's results depend on, and its calls of some functions.

    Args:
      closed: the traced function.
      active: which of its operands are images.
      skipped: the names of functions (under `jax.jit`, `jax.custom_vjp` or `jax.custom_jvp`) that
        a signal is to pass unchanged, to the one operand that is like their result.

    Returns:
      The plan, and the other activations.

    Raises:
      ValueError: there is a ReLU where it cannot be replaced; a skipped function has several
        results, or not one operand that is like its result.
    """
    jaxpr, search = without_dead_code(closed), Search(skipped)
    operands = [search.fresh(True) if is_image else CONSTANT for is_image in active]
    plan, results = _search(jaxpr, closed.consts, operands, (), Calls(), search)
    for result in results:  # a probability at the end is no activation
        drop_gates(search, result.pieces)
    return Findings(_without(plan, search.relus, ()), tuple(search.others.values()))


def _search(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    operands: Sequence[Facts],
    path: Path,
    calls: Calls,
    search: Search,
) -> tuple[Plan, list[Facts]]:
    """The plan of one jaxpr with all ReLUs, and the facts of its results."""
    facts = dict(zip(jaxpr.invars, operands, strict=True))
    facts |= {
        var: CONSTANT._replace(zero=is_zero(value))
        for var, value in zip(jaxpr.constvars, consts, strict=True)
    }
    uses = Counter(
        atom
        for atoms in (*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars)
        for atom in atoms
        if not isinstance(atom, Literal)
    )

    def known(atom: Any) -> Facts:
        if isinstance(atom, Literal):
            return CONSTANT._replace(zero=is_zero(atom.val))
        # What is used several times is an activation of its own, and no piece of another one.
        return facts[atom] if uses[atom] == 1 else facts[atom]._replace(pieces=frozenset())

    actions: dict[int, Action] = {}
    for number, equation in enumerate(jaxpr.eqns):
        inputs = [known(atom) for atom in equation.invars]
        here = (*path, number)
        name = called_name(equation)
        inner = calls._replace(names=(*calls.names, name))
        action, results = _examine(equation, inputs, here, inner, search)
        # Only a bare maximum; who writes jax.nn.relu means one.
        bare = name in ("", "clip") and not isinstance(action, Skip)
        if action and bare and _is_variance(equation.outvars[0], jaxpr):
            search.relus -= {relu for relu in search.relus if relu[: len(here)] == here}
            results = [result._replace(pieces=inputs[0].pieces) for result in results]
        elif action:
            actions[number] = action
        for var, result in zip(equation.outvars, results, strict=True):
            # Of whole numbers there is no derivative.
            facts[var] = result._replace(active=result.active and is_differentiable(var))
    return Plan(jaxpr, consts, actions), [known(atom) for atom in jaxpr.outvars]


def _examine(
    equation: JaxprEqn,
    inputs: Sequence[Facts],
    path: Path,
    calls: Calls,
    search: Search,
) -> tuple[Action | None, list[Facts]]:
    """What is to be done with an equation, and the facts of its results."""
    primitive, name = equation.primitive.name, calls.names[-1]
    active = primitive != "stop_gradient" and any(operand.active for operand in inputs)
    if name in search.skipped:
        return Skip(name, _alike(equation, name)), [search.fresh(active)]
    if name in NO_RELU:
        return None, [pointwise(equation, inputs, path, calls, search)] * len(equation.outvars)
    if primitive == "max":
        first, second = inputs
        operand = 1 if first.zero else 0
        if (first.zero or second.zero) and inputs[operand].active:
            search.relus.add(path)
            pieces = inputs[operand].pieces | {path}
            return Relu(operand), [inputs[operand]._replace(zero=False, pieces=pieces)]
    if primitive in POINTWISE:
        return None, [pointwise(equation, inputs, path, calls, search)]
    if primitive.startswith(_SCALAR):
        for operand in inputs:  # a sum of absolute values is a norm, and no activation
            if search.kinds(operand.pieces) == {"abs"}:
                drop(search, operand.pieces)
        return None, [fresh_or_constant(inputs, active, search)] * len(equation.outvars)
    plans, results = [], None
    for number, body in enumerate(bodies(equation)):
        operands = _operands_of_body(equation, body, inputs, search)
        entry = calls.entry or (None if is_user_function(body) else equation)
        inside, inner = (*path, number), calls._replace(entry=entry)
        plan, results = _search(body.jaxpr, body.consts, operands, inside, inner, search)
        plans.append(plan)
    if primitive not in CALLS or len(plans) != 1 or results is None:
        results = [fresh_or_constant(inputs, active, search) for _ in equation.outvars]
    if not any(plan.actions for plan in plans):
        return None, results
    if primitive not in RUNNERS:
        hint = "; expected lax.scan, or a fori_loop with fixed bounds"
        raise ValueError(
            f"ReLU in a {primitive}{source_location(equation)}: it cannot be replaced there"
            f"{hint if primitive == 'while' else ''}"
        )
    return Nested(tuple(plans)), results


def _operands_of_body(
    equation: JaxprEqn, body: ClosedJaxpr, inputs: Sequence[Facts], search: Search
) -> Sequence[Facts]:
    """What is known of the operands of a jaxpr that an equation holds."""
    primitive = equation.primitive.name
    unknown = fresh_or_constant(inputs, any(operand.active for operand in inputs), search)
    if primitive in CALLS and len(inputs) == len(body.jaxpr.invars):
        return inputs
    alone = [operand._replace(pieces=frozenset()) for operand in inputs]
    if primitive == "scan":
        # What a scan carries may be zero before the first step only, and active after it.
        constants, carried = scan_operands(equation)
        rest = alone[constants + carried :]
        alone = [*alone[:constants], *[unknown] * carried, *rest]
    if primitive == "cond":
        alone = alone[1:]  # no branch gets the index
    same = primitive != "while" and len(alone) == len(body.jaxpr.invars)
    return alone if same else [unknown] * len(body.jaxpr.invars)


def _without(plan: Plan, relus: set[Path], path: Path) -> Plan:
    """The plan with those ReLUs only."""
    actions: dict[int, Action] = {}
    for number, action in plan.actions.items():
        here = (*path, number)
        match action:
            case Nested(plans):
                inner = tuple(_without(nested, relus, (*here, n)) for n, nested in enumerate(plans))
                if any(nested.actions for nested in inner):
                    actions[number] = Nested(inner)
            case Relu() if here not in relus:
                pass
            case _:
                actions[number] = action
    return plan._replace(actions=actions)


def _is_variance(var: Any, jaxpr: Jaxpr) -> bool:
    """Whether a value, with something added to it, is used under a root only.

    A normalisation keeps its variance from falling below zero by rounding; that is no ReLU.
    """
    users = [equation for equation in jaxpr.eqns if any(atom is var for atom in equation.invars)]
    returned = any(atom is var for atom in jaxpr.outvars)
    return (
        bool(users)
        and not returned
        and all(
            _is_root(user)
            or (
                user.primitive.name in SAME_VALUE | {"add"} and _is_variance(user.outvars[0], jaxpr)
            )
            for user in users
        )
    )


def _is_root(equation: JaxprEqn) -> bool:
    if equation.primitive.name == "pow":
        exponent = equation.invars[1]
        return isinstance(exponent, Literal) and abs(float(exponent.val)) == 0.5
    return equation.primitive.name in ("sqrt", "rsqrt")


def _alike(equation: JaxprEqn, name: str) -> int:
    """Which operand of a skipped function is like its only result."""
    results = [shape_and_dtype(var) for var in equation.outvars]
    operands = [shape_and_dtype(atom) for atom in equation.invars]
    if len(results) != 1 or operands.count(results[0]) != 1:
        raise ValueError(
            f"skipped function {name!r}: operands {operands} and results {results}, expected one "
            "result, and one operand like it"
        )
    return operands.index(results[0])
