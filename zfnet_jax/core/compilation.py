"""Compilation with the options that this package's nets want on this machine."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
_PRODUCTS, _SUMS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT", "LIBRARY_FUSION_TYPE_REDUCE"


def jit(function: Callable[..., Any], *, many_products: bool = False, **options: Any) -> Any:
    """`jax.jit` with the compiler options that this package's nets want on this machine.

    jax 0.10 sends a CPU's work to YNNPACK. Matrix products and sums gain by it, convolutions
    take twice as long and batches of small products somewhat longer: it gets what gains.

    Args:
      function: what to compile.
      many_products: whether its work is batches of small matrix products, as `winograd`'s is.
      **options: those of `jax.jit`.
    """
    parts = _SUMS if many_products else f"{_PRODUCTS},{_SUMS}"
    return jax.jit(function, compiler_options=_compiler_options(parts), **options)


@cache
def _compiler_options(ynnpack_parts: str) -> dict[str, str] | None:
    if jax.default_backend() != "cpu":
        return None
    options = {_YNNPACK: ynnpack_parts}
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(1.0).compile()
    except jax.errors.JaxRuntimeError:  # a jax without YNNPACK does not know the option
        return None
    return options
