"""The deconvnet of any JAX function, as `jax.vjp` is its gradient.

Zeiler & Fergus 2014, section 2.1: with the biases gone and the contrast normalisation skipped, the
deconvnet is the vector-Jacobian product of a network whose ReLUs pass max(g, 0) backwards. So a
function of convolutions, max pooling, sums and dense layers has a deconvnet without being written
anew: its ReLUs are found in its trace and get another rule for the backward pass::

    def maps(images):                       # of Flax, Equinox or plain jax.numpy
        return model.apply(variables, images)["block3"]

    outputs, project = deconvnet(maps)(images)
    pixels = project(jnp.zeros_like(outputs).at[0, 7, 7, 12].set(1))

Three rules for what a ReLU passes on of the signal g that comes down, where x was its input in the
forward pass:

* "deconvnet": max(g, 0);
* "guided": max(g, 0) where x > 0, else 0 (Springenberg et al. 2015, section 3.4);
* "gradient": g where x > 0, else 0.
"""

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from zfnet_jax.core.activations import layer_of, output_shapes
from zfnet_jax.core.checked import expect_one_of
from zfnet_jax.transform import jaxprs, relus, rewriting
from zfnet_jax.transform.activations import Activation
from zfnet_jax.zfnet.units import Units, checked_units

Rule = Literal["deconvnet", "guided", "gradient"]


def deconvnet(
    function: Callable[..., Any], *, rule: Rule = "deconvnet", skip: Sequence[str] = ()
) -> Callable[..., tuple[Any, Partial]]:
    """The transform: `deconvnet(f)(images)` is (f(images), the projection back to the images).

    It composes with `jax.jit`, `jax.vmap` and `jax.grad`. Where a maximum is not unique, and
    wherever else the function has no derivative, JAX's own choice holds, but for a ReLU at 0, which
    lets nothing through under "guided" and "gradient".

    The rule is for ReLUs. Other activations (leaky ReLU, PReLU, ELU, SiLU, hard swish, tanh, a ReLU
    written as `jnp.where(x > 0, x, 0)`) pass their gradient under every rule; a warning counts and
    names them each time the function is traced. ReLU6 is a ReLU whose upper bound passes its
    gradient. Gates, which are sigmoids that only multiply other values as in squeeze and
    excitation, pass their gradient without a warning; so do softmax, normalisations, and a sigmoid
    whose values the function returns.

    Args:
      function: images -> an array or a pytree of arrays; further arguments are passed on to it, and
        nothing is pulled back to them. Its ReLUs are `jax.nn.relu`, `jnp.maximum(x, 0)` or
        `lax.max` with a constant that is all zeros, within jit, scan, cond, remat, custom rules
        and vmap, too; a custom rule around one gives way to the derivative of what it computes.
        A normalisation's bound on its variance is no ReLU, and neither is a maximum that is a part
        of another activation, nor one that does not depend on the images.
      rule: what a ReLU passes on of the signal.
      skip: names of functions (under `jax.jit`, `jax.custom_vjp` or `jax.custom_jvp`) that the
        signal passes unchanged, as the paper's passes contrast normalisation.

    Returns:
      (images, ...) -> (outputs, project): what the function returns, and a function from a seed
      shaped as the outputs to a signal shaped as the images.

    Raises:
      ValueError: there is no such rule. When the result is called: the images are not floating
        point; the function cannot be traced (where); it has no ReLU, or one where it cannot be
        replaced; nothing is called as `skip` says. When `project` is called: the seed's shape is
        not the outputs'.
    """
    expect_one_of("rule", rule, get_args(Rule))
    if isinstance(skip, str):
        raise ValueError(f"skip {skip!r}: expected a list of names, such as [{skip!r}]")

    def transformed(images: Any, *others: Any) -> tuple[Any, Partial]:
        findings, structure = _trace(function, skip, images, *others)
        _expect_relu(findings, skip)
        if findings.others:
            warnings.warn(_others_text(findings.others), stacklevel=2)

        def rewritten(images: Any) -> Any:
            operands = jax.tree.leaves((images, *others))
            return structure.unflatten(
                rewriting.run(findings.plan, partial(_relu, rule=rule), operands)
            )

        outputs, pullback = jax.vjp(rewritten, images)
        return outputs, Partial(_project, pullback, outputs)

    return transformed


def count_relus(function: Callable[..., Any], images: Any, *others: Any) -> int:
    """How many ReLUs `deconvnet` finds in a function; one in the body of a scan counts once.

    Args:
      function: as for `deconvnet`.
      images: what it is called with, floating point.
      *others: its further arguments.

    Raises:
      ValueError: as `deconvnet`'s, but that there is none.
    """
    findings, _ = _trace(function, (), images, *others)
    return sum(isinstance(action, rewriting.Relu) for action in rewriting.actions(findings.plan))


def project_units(
    function: Callable[[Any], tuple[Any, Mapping[str, Array]]],
    images: Array,
    layer: str,
    units: Units,
    *,
    rule: Rule = "deconvnet",
    skip: Sequence[str] = (),
) -> Array:
    """Projects single units of any network to whole pictures, each on its own.

    `mining.mine` numbers the images of the data set, this function those of the batch that it is
    given. `mining.top_units` leads from one to the other::

        statistics = mining.mine(function, batches, ["block3"])["block3"]
        numbers, units = mining.top_units(statistics, map_numbers=[3, 17], k=2)
        pixels = transform.project_units(function, images[numbers], "block3", units)

    Args:
      function: images -> (outputs, the activations of the layers by name), as `mining.mine` takes.
      images: (N, H, W, C) float, what the function takes.
      layer: the layer's name; its activations are (N, rows, cols, C) or (N, C), where a unit's row
        and column are 0.
      units: the units, arrays of length U; each is pulled back from its value. Under `jax.jit`
        their places cannot be checked: one out of range gives zeros or another unit's projection.
      rule: as for `deconvnet`.
      skip: as for `deconvnet`.

    Returns:
      (U, H, W, C).

    Raises:
      ValueError: there is no such layer, its activations are no feature maps, or a unit is not one
        of it; or as `deconvnet`'s.
    """
    _, activations = output_shapes(function, images)
    units = checked_units(units, layer, layer_of(activations, layer).shape)

    def maps(images: Array) -> Array:
        return function(images)[1][layer]

    outputs, project = deconvnet(maps, rule=rule, skip=skip)(images[units.image])
    number = jnp.arange(len(outputs))
    index = (number, units.map) if outputs.ndim == 2 else (number, units.row, units.col, units.map)
    return project(jnp.zeros_like(outputs).at[index].set(units.value))


@partial(jax.custom_vjp, nondiff_argnames=("rule",))
def _relu(x: Array, rule: Rule) -> Array:
    return jnp.maximum(x, 0)


def _relu_forward(x: Array, rule: Rule) -> tuple[Array, Array | None]:
    result = jnp.maximum(x, 0)
    return result, None if rule == "deconvnet" else result


def _relu_backward(rule: Rule, result: Array | None, signal: Array) -> tuple[Array]:
    if result is not None:
        signal = jnp.where(result > 0, signal, 0)
    return (signal if rule == "gradient" else jnp.maximum(signal, 0),)


_relu.defvjp(_relu_forward, _relu_backward)


_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def _trace(
    function: Callable[..., Any], skip: Sequence[str], images: Any, *others: Any
) -> tuple[relus.Findings, Any]:
    """The findings in a function, and the structure of its outputs."""
    for leaf in jax.tree.leaves(images):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"images of type {jnp.result_type(leaf)}: expected floating point, since whole "
                "numbers have no derivative; convert them first"
            )
    try:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(images, *others)
    except _UNTRACEABLE as error:
        frames = traceback.extract_tb(error.__traceback__)
        *_, last = [frame for frame in frames if jaxprs.is_user_code(frame.filename)] or frames
        raise ValueError(
            f"{last.filename}:{last.lineno}: {last.line!r} needs a value, expected control flow "
            "that does not depend on the arguments; close over what is fixed"
        ) from error
    count, total = len(jax.tree.leaves(images)), len(closed.in_avals)
    active = [number < count for number in range(total)]
    return relus.find(closed, active, skip), jax.tree.structure(shapes)


def _expect_relu(findings: relus.Findings, skip: Sequence[str]) -> None:
    actions = list(rewriting.actions(findings.plan))
    if not any(isinstance(action, rewriting.Relu) for action in actions):
        raise ValueError(
            "function without a ReLU: expected jax.nn.relu, jnp.maximum(x, 0) or lax.max with zeros"
            + (f"; {_others_text(findings.others)}" if findings.others else "")
        )
    names = {action.name for action in actions if isinstance(action, rewriting.Skip)}
    if missing := set(skip) - names:
        raise ValueError(
            f"skip {sorted(missing)}: expected names of functions that are called, under jax.jit "
            "or a custom rule"
        )


_SHOWN = 8
"""How many places of activations a warning names."""


def _others_text(others: Sequence[Activation]) -> str:
    """The activations that are no ReLU, in one sentence."""
    counts = Counter(f"{kind}{location}" for kind, location in others)
    lines = [name if count == 1 else f"{count} x {name}" for name, count in counts.items()]
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return (
        f"activations that are no ReLU, and pass their gradient: {len(others)} "
        f"({', '.join(lines[:_SHOWN])}{more})"
    )


def _project(pullback: Callable[[Any], tuple[Any]], outputs: Any, seed: Any) -> Any:
    shapes, expected = (jax.tree.map(jnp.shape, tree) for tree in (seed, outputs))
    if shapes != expected:
        raise ValueError(f"seed of shape {shapes}: expected the outputs' {expected}")
    typed = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), seed, outputs)
    return pullback(typed)[0]
