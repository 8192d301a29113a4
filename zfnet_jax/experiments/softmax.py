"""A linear softmax on fixed features: Zeiler & Fergus 2014, sections 5.2 and 5.3.

How the paper regularised it is not said; here the penalty is L2 on the kernel (a choice). C is
scikit-learn's: the objective is C times the sum of losses plus half the squared norm, over C N.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from zfnet_jax.core import compilation

TOLERANCE = 1e-4
"""The largest gradient that counts as none, of the objective per example; scikit-learn's."""

_MEMORY, _STEP_LIMIT = 10, 2000


class Softmax(NamedTuple):
    """A fitted softmax.

    Attributes:
      kernel: (D, K) float32.
      bias: (K,) float32.
    """

    kernel: Any
    bias: Any

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, K) float32."""
        return np.asarray(jax.nn.log_softmax(features @ np.asarray(self.kernel) + self.bias))


def objective(softmax: Softmax, features: Any, labels: Any, c: Any) -> Array:
    """The mean cross-entropy of N pictures plus the squared norm of the kernel over 2 C N."""
    logits = features @ softmax.kernel + softmax.bias
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean() + jnp.square(softmax.kernel).sum() / (2 * c * len(features))


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    c: float,
    *,
    tolerance: float = TOLERANCE,
) -> Softmax:
    """The softmax that minimises the objective, by L-BFGS over all pictures at once.

    Args:
      features: (N, D) float32, standardised.
      labels: (N,) int, below `classes`.
      classes: K.
      c: inverse strength of the penalty, above 0.
      tolerance: the largest element of the gradient at which to stop.

    Returns:
      The softmax. The objective is strictly convex in the kernel, so the minimum has one kernel.
    """
    pictures = jnp.asarray(features, jnp.float32), jnp.asarray(labels, jnp.int32)
    softmax = _compiled(classes)(*pictures, jnp.float32(c), jnp.float32(tolerance))
    return Softmax(*map(np.asarray, softmax))


@cache
def _compiled(classes: int) -> Callable[[Array, Array, Array, Array], Softmax]:
    optimiser = optax.lbfgs(memory_size=_MEMORY)

    def solve(features: Array, labels: Array, c: Array, tolerance: Array) -> Softmax:
        def value(softmax: Softmax) -> Array:
            return objective(softmax, features, labels, c)

        def steepest(gradient: Any) -> Array:
            return jnp.maximum(*(jnp.abs(leaf).max() for leaf in jax.tree.leaves(gradient)))

        value_and_gradient = optax.value_and_grad_from_state(value)

        def step(carried: tuple[Softmax, Any, Array]) -> tuple[Softmax, Any, Array]:
            softmax, state, _ = carried
            reached, gradient = value_and_gradient(softmax, state=state)
            updates, state = optimiser.update(
                gradient, state, softmax, value=reached, grad=gradient, value_fn=value
            )
            after: Any = optax.apply_updates(softmax, updates)
            return after, state, steepest(optax.tree_utils.tree_get(state, "grad"))

        def unfinished(carried: tuple[Softmax, Any, Array]) -> Array:
            _, state, slope = carried
            steps: Any = optax.tree_utils.tree_get(state, "count")
            return (slope > tolerance) & (steps < _STEP_LIMIT)

        nothing = Softmax(jnp.zeros((features.shape[1], classes)), jnp.zeros(classes))
        # Where all features are zero the gradient is too, and L-BFGS has no direction.
        start = nothing, optimiser.init(nothing), steepest(jax.grad(value)(nothing))
        return jax.lax.while_loop(unfinished, step, start)[0]

    return compilation.jit(solve)


def fit_softmax(
    features: np.ndarray, labels: np.ndarray, classes: int, c: float
) -> Callable[[np.ndarray], np.ndarray]:
    """A softmax as a `Fit`: its scores are log-probabilities."""
    return fit(features, labels, classes, c).log_probabilities
