"""Units: made of tuples, and refused where they are none of a layer's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case

from zfnet_jax import transform
from zfnet_jax.networks.function import forward_of
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.units import Units, checked_units

RIGHT = Units.of([(2, 6, 0, 3, 1.5), (0, 0, 6, 6, 1.0)])
"""Two units of conv3, whose activations are (3, 7, 7, 7)."""


def test_units_of_tuples():
    assert [column.tolist() for column in RIGHT] == [[2, 0], [6, 0], [0, 6], [3, 6], [1.5, 1.0]]
    assert {column.dtype for column in RIGHT[:4]} == {np.dtype(np.int32)}
    assert [column.shape for column in Units.of([])] == [(0,)] * 5
    with pytest.raises(ValueError, match=r"unit \(1, 2, 3\): expected \(image, row, col, map, val"):
        Units.of([(1, 2, 3)])


@pytest.mark.parametrize("number", [-1, "size"])
@pytest.mark.parametrize(("field", "size"), [("image", 3), ("row", 7), ("col", 7), ("map", 7)])
def test_a_number_out_of_range_is_refused_with_both_values(tiny: Case, field, size, number):
    number = size if number == "size" else number
    units = RIGHT._replace(**{field: np.array([0, number])})
    message = rf"unit 1: {field} {number}, expected 0\.\.{size - 1}; .* conv3 .*\(3, 7, 7, 7\)"
    with pytest.raises(ValueError, match=message):
        deconvnet.project_units(TINY, tiny.params, tiny.trace, "conv3", units)
    function = jax.tree_util.Partial(forward_of(TINY), tiny.params)
    with pytest.raises(ValueError, match=message):
        transform.project_units(function, tiny.images, "conv3", units)


def test_a_unit_of_a_dense_layer_has_row_and_column_0():
    shape = (3, CLASSES)
    checked_units(Units.of([(2, 0, 0, CLASSES - 1, 1)]), "fc5", shape)
    with pytest.raises(ValueError, match=r"unit 0: row 1, expected 0\.\.0; .*\(3, 7\)"):
        checked_units(Units.of([(2, 1, 0, 0, 1)]), "fc5", shape)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([(0, 0, 0, 0, 1.0)], r"units of type list: expected Units; Units\.of\(\[\(image, row,"),
        (RIGHT._replace(row=np.array([1])), r"units of shapes .*: expected arrays of one length"),
        (Units(0, 0, 0, 0, 1.0), r"units of shapes .*: expected arrays of one length"),  # pyright: ignore
        (RIGHT._replace(col=np.array([0.0, 1.0])), "units' col of type float64: expected whole"),
    ],
)
def test_what_is_no_units_is_refused(tiny: Case, units, message):
    with pytest.raises(ValueError, match=message):
        deconvnet.project_units(TINY, tiny.params, tiny.trace, "conv3", units)


def test_lists_in_units_are_arrays():
    units = Units([0], [1], [2], [3], [1.0])  # pyright: ignore
    assert [type(column) for column in checked_units(units, "conv3", (3, 7, 7, 7))] == [
        np.ndarray
    ] * 5


def test_numbers_that_are_not_known_yet_are_not_checked():
    @jax.jit
    def shapes_alone(row: jax.Array) -> jax.Array:
        zeros = jnp.zeros_like(row)
        units = Units(zeros, row, zeros, zeros, zeros.astype(float))
        return checked_units(units, "conv3", (3, 7, 7, 7)).row

    assert shapes_alone(jnp.array([99])).tolist() == [99]
