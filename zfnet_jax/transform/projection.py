"""The deconvnet of any JAX function, as `jax.vjp` is its gradient.

Zeiler & Fergus 2014, section 2.1: with the biases gone and the contrast normalisation skipped, the
deconvnet is the vector-Jacobian product of a network whose ReLUs pass max(g, 0) backwards. So a
function of convolutions, max pooling, sums and dense layers has a deconvnet without being written
anew: its ReLUs are found in its trace and get another rule for the way back.

    def maps(images):                       # of Flax, Equinox or plain jax.numpy
        return model.apply(variables, images)["block3"]

    outputs, project = deconvnet(maps)(images)
    pixels = project(jnp.zeros_like(outputs).at[0, 7, 7, 12].set(1))

Three rules, by what a ReLU does to the signal g that comes down, where x is what it saw on its way
up:

* "deconvnet": max(g, 0);
* "guided": max(g, 0) where x > 0, else 0 (Springenberg et al. 2015, section 3.4);
* "gradient": g where x > 0, else 0.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from zfnet_jax.transform import relus, rewriting
from zfnet_jax.zfnet.units import Units

Rule = Literal["deconvnet", "guided", "gradient"]


def deconvnet(
    function: Callable[..., Any], *, rule: Rule = "deconvnet", skip: Sequence[str] = ()
) -> Callable[..., tuple[Any, Partial]]:
    """The transform: `deconvnet(f)(images)` is (f(images), the way back to the images).

    It composes with `jax.jit`, `jax.vmap` and `jax.grad`. Where a maximum is not unique, and
    wherever else the function has no derivative, JAX's own choice holds, but for a ReLU at 0, which
    lets nothing through under "guided" and "gradient".

    Args:
      function: images -> an array or a pytree of arrays; further arguments are passed on to it, and
        nothing is pulled back to them. Its ReLUs are `jax.nn.relu`, `jnp.maximum(x, 0)` or
        `lax.max` with a constant that is all zeros, within jit, scan, cond, remat, custom rules
        and vmap, too; a custom rule around one gives way to the derivative of what it computes.
        What normalisations do to their variance is no ReLU, and neither are gates such as
        `jax.nn.hard_sigmoid`, nor maxima of what does not depend on the images. A ReLU written as
        a choice, `jnp.where(x > 0, x, 0)`, is not found.
      rule: what a ReLU does to the signal on its way down.
      skip: names of functions (under `jax.jit`, `jax.custom_vjp` or `jax.custom_jvp`) that the
        signal passes unchanged, as the paper's passes contrast normalisation.

    Returns:
      (images, ...) -> (outputs, project): what the function returns, and a function of a seed
      shaped as the outputs, which returns a signal shaped as the images.

    Raises:
      ValueError: there is no such rule. When the result is called: the images are not floating
        point; the function cannot be traced (where); it has no ReLU, or one where it cannot be
        replaced; nothing is called as `skip` says. When `project` is called: the seed's shape is
        not the outputs'.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule {rule!r}: expected one of {', '.join(get_args(Rule))}")
    if isinstance(skip, str):
        raise ValueError(f"skip {skip!r}: expected a list of names, such as [{skip!r}]")

    def transformed(images: Any, *others: Any) -> tuple[Any, Partial]:
        plan, structure = _trace(function, skip, images, *others)
        _expect_found(plan, skip)

        def rewritten(images: Any) -> Any:
            operands = jax.tree.leaves((images, *others))
            return structure.unflatten(rewriting.run(plan, partial(_relu, rule=rule), operands))

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
    plan, _ = _trace(function, (), images, *others)
    return sum(isinstance(action, rewriting.Relu) for action in rewriting.actions(plan))


def project_units(
    function: Callable[[Any], tuple[Any, Mapping[str, Array]]],
    images: Array,
    layer: str,
    units: Units,
    *,
    rule: Rule = "deconvnet",
    skip: Sequence[str] = (),
) -> Array:
    """Takes single units of any network down to whole pictures, each for itself.

    Args:
      function: images -> (outputs, the activations of the layers by name), as `mining.mine` takes.
      images: (N, H, W, C) float, what the function takes.
      layer: the layer's name; its activations are (N, rows, cols, maps) or (N, features), where a
        unit's row and column are 0.
      units: the units, arrays of length U; each is pulled back from its value.
      rule: as for `deconvnet`.
      skip: as for `deconvnet`.

    Returns:
      (U, H, W, C).

    Raises:
      ValueError: there is no such layer; or as `deconvnet`'s.
    """

    def maps(images: Array) -> Array:
        _, activations = function(images)
        if layer not in activations:
            raise ValueError(f"layer {layer!r}: expected one of {', '.join(activations)}")
        return activations[layer]

    outputs, project = deconvnet(maps, rule=rule, skip=skip)(images[units.image])
    own = jnp.arange(len(outputs))
    place = (own, units.map) if outputs.ndim == 2 else (own, units.row, units.col, units.map)
    return project(jnp.zeros_like(outputs).at[place].set(units.value))


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
) -> tuple[rewriting.Plan, Any]:
    """What is to be replaced in a function, and the structure of its outputs."""
    for leaf in jax.tree.leaves(images):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"images of type {jnp.result_type(leaf)}: expected floating point, since no signal "
                "comes back to whole numbers; convert them first"
            )
    try:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(images, *others)
    except _UNTRACEABLE as error:
        frames = traceback.extract_tb(error.__traceback__)
        *_, last = [frame for frame in frames if relus.is_own(frame.filename)] or frames
        raise ValueError(
            f"{last.filename}:{last.lineno}: {last.line!r} needs a value, expected control flow "
            "that does not depend on the arguments; close over what is fixed"
        ) from error
    count, total = len(jax.tree.leaves(images)), len(closed.in_avals)
    active = [place < count for place in range(total)]
    return relus.find(closed, active, skip), jax.tree.structure(shapes)


def _expect_found(plan: rewriting.Plan, skip: Sequence[str]) -> None:
    found = list(rewriting.actions(plan))
    if not any(isinstance(action, rewriting.Relu) for action in found):
        raise ValueError(
            "function without a ReLU: expected jax.nn.relu, jnp.maximum(x, 0) or lax.max with zeros"
        )
    names = {action.name for action in found if isinstance(action, rewriting.Skip)}
    if missing := set(skip) - names:
        raise ValueError(
            f"skip {sorted(missing)}: expected names of functions that are called, under jax.jit "
            "or a custom rule"
        )


def _project(pullback: Callable[[Any], tuple[Any]], outputs: Any, seed: Any) -> Any:
    shapes, expected = (jax.tree.map(jnp.shape, tree) for tree in (seed, outputs))
    if shapes != expected:
        raise ValueError(f"seed of shape {shapes}: expected the outputs' {expected}")
    typed = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), seed, outputs)
    return pullback(typed)[0]
