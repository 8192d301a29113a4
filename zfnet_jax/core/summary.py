"""One-line texts of values that hold arrays, so that printing them does not print the arrays."""

from collections.abc import Mapping
from typing import Any

_LONGEST = 80  # characters of a text or of bytes


def summary(value: Any) -> str:
    """A value as text, with each array by its type and shape.

    Args:
      value: a named tuple, a mapping, a sequence, an array, or anything else.

    Returns:
      Such as "Trace(activations={'conv1': float32[3, 28, 28, 6]}, switches={})".
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}" if value.shape else str(value)
    names = getattr(value, "_fields", None)  # of a named tuple
    if names is not None:
        fields = zip(names, value, strict=True)
        parts = ", ".join(f"{name}={summary(field)}" for name, field in fields)
        return f"{type(value).__name__}({parts})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {summary(item)}' for key, item in value.items())}}}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
