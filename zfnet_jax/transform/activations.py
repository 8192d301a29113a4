"""The activations of a traced function: which operations belong to one, and what its name is.

A ReLU can be a part of another activation: of PReLU, max(x, 0) + a min(x, 0), or of hard swish,
x * relu6(x + 3) / 6. So for every value it is followed which value it is a pointwise function of,
its *source*. Where two functions of one source meet in an operation, they are one activation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from zfnet_jax.transform.jaxprs import JaxprEqn, scope, source_location

SAME_VALUE = {
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "expand_dims",
    "optimization_barrier",
    "pvary",
    "reshape",
    "squeeze",
    "transpose",
}
_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor", "is_finite"}
_SMOOTH = {"logistic", "tanh", "erf", "erfc"}
_PIECEWISE = {"max", "min", "clamp", "abs", "select_n"}
POINTWISE = (
    SAME_VALUE
    | _COMPARISONS
    | _SMOOTH
    | _PIECEWISE
    | {"add", "add_any", "sub", "mul", "div", "neg", "pow", "integer_pow", "square", "sign"}
    | {"exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "stop_gradient"}
)
# Functions whose maximum with zero is no ReLU: that in log(exp(a) + exp(b)), of which softplus is
# the case b = 0, is a part of a smooth function, and others are gates or smooth themselves.
NO_RELU = {"celu", "hard_sigmoid", "logaddexp", "logaddexp2", "sparse_sigmoid"}
_GATES = {"logistic", "sigmoid", "hard_sigmoid", "sparse_sigmoid"}
# The functions whose name says what an activation is, where they are called under jit.
_NAMED = NO_RELU | {
    *("elu", "gelu", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid", "mish"),
    *("relu6", "selu", "sigmoid", "silu", "soft_sign", "softplus", "sparse_plus", "squareplus"),
    *("swish", "tanh"),
}

Path = tuple[int, ...]
"""Which equation: its number, then in turn the jaxpr that it holds and the number in there."""


class Activation(NamedTuple):
    """An activation that is no ReLU.

    Attributes:
      kind: its name, or the operations that it is made of.
      location: where it is in the code, such as " at model.py:12 in Net/Block_0".
    """

    kind: str
    location: str


class Calls(NamedTuple):
    """The calls that an equation is in.

    Attributes:
      names: the names of the functions, outermost first; "" where there is none.
      entry: the equation that calls a library's function, None while all code is the user's own.
    """

    names: tuple[str, ...] = ()
    entry: JaxprEqn | None = None


class Facts(NamedTuple):
    """What is known of a value.

    Attributes:
      zero: whether it is zero everywhere.
      active: whether a signal can come back from it to the images.
      source: the number of the value that it is a pointwise function of; None if it does not depend
        on the images.
      pieces: the activations between the two, of which nothing else depends.
    """

    zero: bool
    active: bool
    source: int | None
    pieces: frozenset[Path]


CONSTANT = Facts(False, False, None, frozenset())


@dataclass
class Search:
    """The state of one search: what is skipped, and the activations so far, by their equation."""

    skipped: Sequence[str]
    sources: Any = field(default_factory=count)
    relus: set[Path] = field(default_factory=set)
    others: dict[Path, Activation] = field(default_factory=dict)

    def fresh(self, active: bool) -> Facts:
        """A value that is no pointwise function of a single other one."""
        return Facts(False, active, next(self.sources), frozenset())

    def kinds(self, pieces: frozenset[Path]) -> set[str]:
        """The operations that pieces are made of."""
        return {self.others[path].kind if path in self.others else "max" for path in pieces}


def pointwise(
    equation: JaxprEqn,
    inputs: Sequence[Facts],
    path: Path,
    calls: Calls,
    search: Search,
) -> Facts:
    """The facts of a result that is computed place by place; notes what is an activation."""
    name = calls.names[-1]
    primitive = name if name in NO_RELU else equation.primitive.name
    active = primitive != "stop_gradient" and any(operand.active for operand in inputs)
    dependent = [operand for operand in inputs if operand.source is not None]
    pieces = frozenset().union(*(operand.pieces for operand in dependent))
    sources = {operand.source for operand in dependent}
    if not sources:
        zero = primitive in SAME_VALUE and inputs[0].zero
        return CONSTANT._replace(zero=zero, active=active)
    if len(sources) > 1:
        if primitive == "mul":
            drop_gates(search, pieces)
        if primitive == "div":
            drop(search, inputs[1].pieces - search.relus)
        return search.fresh(active)
    # Of a norm that is kept above zero, or of what passes no gradient.
    if primitive in ("sqrt", "rsqrt", "log", "stop_gradient"):
        drop(search, pieces - search.relus)
    meet = len(dependent) > 1
    if primitive == "select_n":
        is_activation = inputs[0].source is not None and meet
    elif primitive in ("max", "min", "clamp"):
        # An upper bound, as ReLU6 has, belongs to what it bounds.
        is_activation = meet or not pieces
    else:
        is_activation = primitive in _SMOOTH | NO_RELU | {"abs"} or (meet and bool(pieces))
    if is_activation and active:
        kind = primitive
        if meet and pieces:
            kind = f"{primitive} of {' and '.join(sorted(search.kinds(pieces)))}"
            drop(search, pieces)
            search.relus -= pieces
        kind = next((name for name in calls.names if name in _NAMED), kind)
        # The equations of a library's function keep the place of its first call.
        shown = calls.entry or equation
        search.others[path] = Activation(kind, source_location(shown) + scope(shown))
        pieces = frozenset([path])
    (source,) = sources
    return Facts(False, active, source, pieces)


def drop(search: Search, pieces: frozenset[Path] | set[Path]) -> None:
    """Takes pieces back that turned out to be no activations of their own."""
    for path in pieces:
        search.others.pop(path, None)


def drop_gates(search: Search, pieces: frozenset[Path]) -> None:
    """Takes gates back, such as those of squeeze and excitation, which multiply other values."""
    drop(search, {path for path in pieces if search.kinds(frozenset([path])) & _GATES})


def fresh_or_constant(inputs: Sequence[Facts], active: bool, search: Search) -> Facts:
    """The facts of a value that depends on others in another way than place by place."""
    dependent = any(operand.source is not None for operand in inputs)
    return search.fresh(active) if dependent else CONSTANT._replace(active=active)
