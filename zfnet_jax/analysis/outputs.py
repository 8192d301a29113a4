"""What a network's outputs are: declared by who calls an analysis, and checked against values."""

from typing import Literal, get_args

import jax
import numpy as np
from jax import Array

from zfnet_jax.core.checked import expect_one_of

Outputs = Literal["logits", "probabilities", "values"]
"""Logits, of which a softmax makes probabilities; probabilities, 0..1; or values of any kind."""

_SUM_TOLERANCE = 1e-3


def to_scores(outputs: Array, kind: Outputs) -> Array:
    """Probabilities from logits; other outputs as they are."""
    return jax.nn.softmax(outputs) if kind == "logits" else outputs


def expect_outputs(outputs: np.ndarray, kind: str) -> None:
    """Raises ValueError where outputs are not what they are declared to be.

    Args:
      outputs: of some pictures, (N, classes).
      kind: one of `Outputs`.
    """
    expect_one_of("outputs", kind, get_args(Outputs))
    if outputs.ndim != 2:
        raise ValueError(f"outputs of shape {outputs.shape}: expected (N, classes)")
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    if kind == "probabilities" and not inside:
        raise ValueError(
            f"probabilities between {outputs.min():.3g} and {outputs.max():.3g}: expected 0..1; "
            "outputs='logits' takes their softmax, outputs='values' takes them as they are"
        )
    if kind != "logits":
        return
    if outputs.shape[1] < 2:
        raise ValueError(
            f"logits of shape {outputs.shape}: expected 2 classes or more, since the softmax of "
            "one is always 1; outputs='probabilities' or 'values' takes it as it is"
        )
    if inside and (np.abs(outputs.sum(axis=1) - 1) < _SUM_TOLERANCE).all():
        raise ValueError(
            "logits between 0 and 1 whose sum is 1: expected values before the softmax; "
            "outputs='probabilities' takes them as they are"
        )
