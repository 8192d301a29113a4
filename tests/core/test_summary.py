import jax.numpy as jnp
import numpy as np
import pytest

from zfnet_jax.core.summary import summary
from zfnet_jax.data.source import Example
from zfnet_jax.zfnet.trace import Trace
from zfnet_jax.zfnet.units import Units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4), np.uint8), "uint8[3, 4]"),
        (jnp.float32(2), "2.0"),
        ({"a": jnp.zeros(3)}, "{'a': float32[3]}"),
        ("a" * 100, "'" + "a" * 79 + "..."),
        (
            Trace({"conv1": jnp.zeros((1, 2, 2, 6))}, {}),
            "Trace(activations={'conv1': float32[1, 2, 2, 6]}, switches={})",
        ),
        (Example(b"12345", 3, "cat.png"), "Example(image=5 bytes, label=3, name='cat.png')"),
    ],
)
def test_arrays_are_named_by_type_and_shape(value, text):
    assert summary(value) == text


def test_values_that_hold_arrays_are_printed_in_one_line():
    units = Units.of([(0, 1, 2, 3, 1.0)] * 1000)
    assert repr(units).startswith("Units(image=int32[1000], row=int32[1000], ")
    assert repr(Trace({"conv1": jnp.zeros(9999)}, {})) == (
        "Trace(activations={'conv1': float32[9999]}, switches={})"
    )
