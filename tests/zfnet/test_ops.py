import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from conftest import precision
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from together import together

from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.contrast_norm import contrast_norm

# Compiled as a whole: operation by operation every slice would be compiled on its own.
conv, conv_transpose, max_pool, max_unpool = (
    jax.jit(function, static_argnames=names)
    for function, names in (
        (ops.conv, ("stride", "pads")),
        (ops.conv_transpose, ("stride", "pads")),
        (ops.max_pool, ("size", "stride", "pads")),
        (ops.max_unpool, ("size", "stride", "pads", "overlap")),
    )
)

LAYOUT = ("NHWC", "HWIO", "NHWC")
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
types = pytest.mark.parametrize("dtype", TOLERANCE)


def grid(*rows: list[float]) -> jax.Array:
    """One image of one map, by its rows."""
    return jnp.float32(np.array(rows)[None, :, :, None])


def plain(maps: jax.Array) -> list:
    return np.asarray(maps)[0, :, :, 0].tolist()


def normal(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# By hand


def test_conv_by_hand():
    x = grid([1, 2, 3], [4, 5, 6], [7, 8, 9])
    kernel = jnp.float32([[1, 10], [100, 1000]]).reshape(2, 2, 1, 1)
    assert plain(conv(x, kernel)) == [[5421, 6532], [8754, 9865]]
    # A pixel of zeros below and to the right, every second position.
    y = conv(x, kernel, stride=2, pads=((0, 1), (0, 1)))
    assert plain(y) == [[5421, 603], [87, 9]]


def test_conv_transpose_by_hand():
    y = grid([1, 2])
    kernel = jnp.float32([[1, 10], [100, 1000]]).reshape(2, 2, 1, 1)
    assert plain(conv_transpose(y, kernel)) == [[1, 12, 20], [100, 1200, 2000]]
    assert plain(conv_transpose(y, kernel, stride=3)) == [
        [1, 10, 0, 2, 20],
        [100, 1000, 0, 200, 2000],
    ]
    # What was padded is cut off, what was cut off comes back as zeros.
    assert plain(conv_transpose(y, kernel, pads=((0, 0), (1, -1)))) == [
        [12, 20, 0],
        [1200, 2000, 0],
    ]


def test_conv_transpose_swaps_inputs_and_outputs():
    kernel = jnp.float32(normal(0, 2, 3, 4, 5)[:, :2])
    y = jnp.zeros((1, 3, 3, 5)).at[0, 0, 0, 4].set(1.0)
    x = conv_transpose(y, kernel)
    np.testing.assert_array_equal(x[0, :2, :2], kernel[..., 4])
    assert x.shape == (1, 4, 4, 4)


def test_max_pool_by_hand():
    x = grid([1, 2, 0, 7, 4], [3, 9, 5, 6, 4], [0, 1, 8, 2, 9])
    values, switches = max_pool(x)
    assert plain(values) == [[9, 9]]
    assert plain(switches) == [[4, 8]]
    assert switches.dtype == jnp.uint8


def test_max_pool_takes_the_first_of_equals():
    values, switches = max_pool(grid([0, 5, 5], [5, 5, 0], [0, 0, 0]))
    assert (plain(values), plain(switches)) == ([[5]], [[1]])
    # As behind a ReLU, where whole windows are zero.
    assert plain(max_pool(jnp.zeros((1, 5, 5, 1)))[1]) == [[0, 0], [0, 0]]


def test_max_pool_never_takes_the_padding():
    values, switches = max_pool(grid([-3, -1], [-2, -4]), size=3, stride=1, pads=((1, 1), (1, 1)))
    assert plain(values) == [[-1, -1], [-1, -1]]
    assert plain(switches) == [[5, 4], [2, 1]]


def test_max_pool_of_the_largest_window_reaches_the_last_switch():
    x = jnp.zeros((1, 16, 16, 1)).at[0, 15, 15, 0].set(1.0)
    values, switches = max_pool(x, size=16, stride=1)
    assert (plain(values), plain(switches)) == ([[1]], [[255]])


def test_max_unpool_by_hand():
    switches = jnp.uint8([[5, 3], [2, 0]]).reshape(1, 2, 2, 1)
    y = grid([1, 20], [300, 4000])
    # The upper two chose the pixels (1, 2) and (1, 2); the lower two (2, 2) and (2, 2).
    assert plain(max_unpool(y, switches)) == [
        [0, 0, 0, 0, 0],
        [0, 0, 21, 0, 0],
        [0, 0, 4300, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert plain(max_unpool(y, switches, overlap="overwrite"))[1:3] == [
        [0, 0, 20, 0, 0],
        [0, 0, 4000, 0, 0],
    ]


def test_overwriting_keeps_a_zero_and_a_negative_value_of_the_last_window():
    switches = jnp.uint8([[5, 3]]).reshape(1, 1, 2, 1)
    for last in (0, -2):
        assert plain(max_unpool(grid([1, last]), switches, overlap="overwrite"))[1][2] == last


def test_contrast_norm_by_hand():
    x = jnp.float32([1, 2, 3, 0, 0]).reshape(1, 1, 1, 5)
    y = contrast_norm(x, size=3, alpha=3.0, beta=0.5, k=4.0)
    energies = np.array([4 + 1 + 4, 4 + 1 + 4 + 9, 4 + 4 + 9, 4 + 9, 4])
    np.testing.assert_allclose(y[0, 0, 0], [1, 2, 3, 0, 0] / energies**0.5, rtol=1e-6)


# Ten cases are one program. Hypothesis tries the simplest example first: the random ones begin with
# the second.

# Convolution


@st.composite
def convolutions(draw) -> dict:
    """A convolution's sizes: any stride and kernel, pads that differ and may be negative."""
    size, stride = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    shape, out, pads = [], [], []
    for _ in range(2):
        count = draw(st.integers(1, 5))
        reach = (count - 1) * stride + size
        length = draw(st.integers(max(1, reach - 4), reach + 3))
        before = draw(st.integers(-1, min(size - 1, 3)))
        shape.append(length)
        out.append(count)
        pads.append((before, reach - length - before))
    return {
        "size": size,
        "stride": stride,
        "shape": tuple(shape),
        "out": tuple(out),
        "pads": tuple(pads),
        "maps": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "seed": draw(st.integers(0, 99)),
    }


def arrays(case: dict, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random x, y and kernel of a convolution."""
    inputs, outputs = case["maps"]
    return (
        normal(case["seed"], 2, *case["shape"], inputs, dtype=dtype),
        normal(case["seed"] + 1, 2, *case["out"], outputs, dtype=dtype),
        normal(case["seed"] + 2, case["size"], case["size"], inputs, outputs, dtype=dtype),
    )


@types
@settings(max_examples=3)
@given(cases=st.lists(convolutions(), min_size=10, max_size=10))
def test_conv_and_its_transpose_are_the_loops_and_adjoint(dtype, cases):
    def both(case):
        options = {"stride": case["stride"], "pads": case["pads"]}
        return lambda x, y, kernel: (
            ops.conv(x, kernel, **options),
            ops.conv_transpose(y, kernel, **options),
        )

    operands = [arrays(case, dtype) for case in cases]
    with precision(dtype):
        results = together([both(case) for case in cases], operands)
    for case, (x, y, kernel), (up, down) in zip(cases, operands, results, strict=True):
        before = tuple(first for first, _ in case["pads"])
        assert up.dtype == down.dtype == dtype
        expected = loops.conv(x, kernel, case["stride"], before, case["out"])
        assert loops.relative(up, expected) <= TOLERANCE[dtype]
        expected = loops.conv_transpose(y, kernel, case["stride"], before, case["shape"])
        assert loops.relative(down, expected) <= TOLERANCE[dtype]
        # <conv x, y> == <x, conv_transpose y>
        above, below = (np.vdot(np.float64(a), np.float64(b)) for a, b in ((up, y), (x, down)))
        scale = np.linalg.norm(np.float64(up)) * np.linalg.norm(np.float64(y))
        assert abs(above - below) <= TOLERANCE[dtype] * scale


@settings(max_examples=2)
@given(cases=st.lists(convolutions(), min_size=10, max_size=10))
def test_conv_transpose_is_what_jax_derives(cases):
    def derived(case):
        options = {"stride": case["stride"], "pads": case["pads"]}

        def all_three(x: jax.Array, y: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
            def up(x: jax.Array) -> jax.Array:
                return lax.conv_general_dilated(
                    x, kernel, (case["stride"],) * 2, case["pads"], dimension_numbers=LAYOUT
                )

            (transposed,) = jax.linear_transpose(up, x)(y)
            (pulled,) = jax.vjp(lambda x: ops.conv(x, kernel, **options), x)[1](y)
            return ops.conv_transpose(y, kernel, **options), transposed, pulled

        return all_three

    with precision("float64"):
        operands = [arrays(case, "float64") for case in cases]
        for down, *others in together([derived(case) for case in cases], operands):
            for other in others:
                assert loops.relative(down, other) <= 1e-12


@pytest.mark.parametrize(
    ("shape", "size", "stride", "pads"),
    [
        ((6, 5), 3, 2, ops.NO_PADS),  # A row is left over.
        ((5, 5), 3, 2, ((0, 0), (0, 1))),
        ((2, 9), 3, 2, ops.NO_PADS),  # No window fits.
        ((4, 9), 3, 2, ((0, -2), (0, 0))),
    ],
)
def test_windows_that_do_not_fill_the_map_are_refused(shape, size, stride, pads):
    x = jnp.zeros((1, *shape, 2))
    with pytest.raises(ValueError, match=f"expected windows of {size} with stride {stride}"):
        ops.conv(x, jnp.zeros((size, size, 2, 1)), stride=stride, pads=pads)
    with pytest.raises(ValueError, match=f"expected windows of {size} with stride {stride}"):
        ops.max_pool(x, size=size, stride=stride, pads=pads)


# Pooling


@st.composite
def poolings(draw) -> dict:
    """A pooling layer's sizes: windows may leave pixels out, overlap, and reach past the edges."""
    size, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape, out, pads = [], [], []
    for _ in range(2):
        count, before = draw(st.integers(1, 4)), draw(st.integers(0, size - 1))
        start = (count - 1) * stride - before  # The last window sees at least one pixel.
        length = draw(st.integers(max(1, start + 1), max(1, start + size + 2)))
        shape.append(length)
        out.append(count)
        pads.append((before, start + size - length))
    return {
        "sizes": {"size": size, "stride": stride, "pads": tuple(pads)},
        "before": tuple(before for before, _ in pads),
        "shape": tuple(shape),
        "out": tuple(out),
        "seed": draw(st.integers(0, 99)),
    }


several = st.lists(poolings(), min_size=10, max_size=10)


def pool(case: dict):
    return lambda x: ops.max_pool(x, **case["sizes"])


def pooled_inputs(cases: list[dict]) -> list[tuple[np.ndarray]]:
    return [(normal(case["seed"], 2, *case["shape"], 3, dtype="float32"),) for case in cases]


@settings(max_examples=3)
@given(cases=several)
def test_max_pool_is_the_loop(cases):
    inputs = []
    for number, (x,) in enumerate(pooled_inputs(cases)):
        # Without ties also without a positive value.
        inputs.append((np.round(x) if number % 2 else x - 3,))
    results = together([pool(case) for case in cases], inputs)
    for case, (x,), (values, switches) in zip(cases, inputs, results, strict=True):
        window = case["sizes"]["size"], case["sizes"]["stride"]
        expected = loops.pool(x, *window, case["before"], case["out"])
        np.testing.assert_array_equal(values, expected[0])
        np.testing.assert_array_equal(switches, expected[1])


@settings(max_examples=3)
@given(cases=several)
def test_max_unpool_is_the_loop(cases):
    def unpool(case):
        def all_three(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
            _, switches = ops.max_pool(x, **case["sizes"])
            added, kept = (
                ops.max_unpool(y, switches, **case["sizes"], overlap=overlap)
                for overlap in ("add", "overwrite")
            )
            return switches, added, kept

        return all_three

    inputs = []
    for case, (x,) in zip(cases, pooled_inputs(cases), strict=True):
        y = normal(case["seed"] + 1, 2, *case["out"], 3, dtype="float32")
        y[y < -0.5] = 0  # A value of zero overwrites too.
        inputs.append((x, y))
    results = together([unpool(case) for case in cases], inputs)
    for case, (_, y), (switches, added, kept) in zip(cases, inputs, results, strict=True):
        window = case["sizes"]["size"], case["sizes"]["stride"]
        for overlap, down, bound in (("add", added, 2e-7), ("overwrite", kept, 0)):
            expected = loops.unpool(
                y, np.asarray(switches), *window, case["before"], case["shape"], overlap
            )
            assert down.dtype == y.dtype
            assert loops.relative(down, expected) <= bound


@settings(max_examples=2)
@given(cases=several)
def test_switches_point_at_the_values(cases):
    inputs = pooled_inputs(cases)
    results = together([pool(case) for case in cases], inputs)
    for case, (x,), (values, switches) in zip(cases, inputs, results, strict=True):
        values, switches = np.asarray(values), np.asarray(switches)
        size, stride = case["sizes"]["size"], case["sizes"]["stride"]
        for index in np.ndindex(values.shape):
            image, row, col, channel = index
            down, right = divmod(int(switches[index]), size)
            top, left = row * stride - case["before"][0], col * stride - case["before"][1]
            assert min(top + down, left + right) >= 0  # A negative index counts from the end.
            assert x[image, top + down, left + right, channel] == values[index]


@settings(max_examples=2)
@given(cases=several)
def test_the_gradient_of_max_pool_is_unpooling_and_that_of_reduce_window(cases):
    def gradients(case):
        size, stride, pads = case["sizes"].values()
        # What a negative pad cuts off is cut first: reduce_window knows no such pads.
        cut = [(0, min(after, 0), 0) for _, after in pads]
        added = [(before, max(after, 0)) for before, after in pads]

        def expected(x: jax.Array) -> jax.Array:
            x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *cut, (0, 0, 0)))
            window, steps = (1, size, size, 1), (1, stride, stride, 1)
            return lax.reduce_window(x, -np.inf, lax.max, window, steps, ((0, 0), *added, (0, 0)))

        def all_five(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
            values, pull, switches = jax.vjp(
                lambda x: ops.max_pool(x, **case["sizes"]), x, has_aux=True
            )
            values_expected, pull_expected = jax.vjp(expected, x)
            down = ops.max_unpool(y, switches, **case["sizes"])
            return values, values_expected, pull(y)[0], down, pull_expected(y)[0]

        return all_five

    inputs = [
        (normal(case["seed"], 2, *case["shape"], 3), normal(case["seed"] + 1, 2, *case["out"], 3))
        for case in cases
    ]
    with precision("float64"):
        results = together([gradients(case) for case in cases], inputs)
    for (x, y), result in zip(inputs, results, strict=True):
        values, values_expected, pulled, down, pulled_expected = result
        np.testing.assert_array_equal(values, values_expected)
        np.testing.assert_array_equal(pulled, down)
        assert loops.relative(pulled, pulled_expected) <= 1e-12
        # Picking by these switches is linear, and gives the maxima for this x: its adjoint unpools.
        np.testing.assert_allclose(np.vdot(values, y), np.vdot(x, down), rtol=1e-12, atol=1e-12)


def test_overwriting_loses_a_third_of_the_mass():
    x = np.abs(normal(0, 2, 110, 110, 8, dtype="float32"))
    sizes = {"size": 3, "stride": 2, "pads": ((0, 1), (0, 1))}
    values, switches = max_pool(x, **sizes)
    # The signal on the way down knows nothing of the maxima.
    signal = np.abs(normal(1, *values.shape, dtype="float32"))
    added, kept = (
        np.float64(max_unpool(signal, switches, **sizes, overlap=overlap)).sum()
        for overlap in ("add", "overwrite")
    )
    assert added == pytest.approx(signal.sum(dtype=np.float64), rel=1e-6)
    assert 0.29 <= 1 - kept / added <= 0.39


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (1, 2, 2, 1)])
def test_unpooling_by_another_layer_s_switches_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected the switches' \(1, 2, 2, 4\)"):
        ops.max_unpool(jnp.zeros(shape), jnp.zeros((1, 2, 2, 4), jnp.uint8))


def test_an_unknown_overlap_is_refused():
    y = jnp.zeros((1, 2, 2, 4))
    with pytest.raises(ValueError, match="'mean': expected 'add' or 'overwrite'"):
        ops.max_unpool(y, y.astype(jnp.uint8), overlap="mean")


def test_a_window_too_large_for_a_switch_is_refused():
    with pytest.raises(ValueError, match="window 17: expected at most 16"):
        ops.max_pool(jnp.zeros((1, 17, 17, 1)), size=17, stride=1)


# Contrast normalisation

norms = st.fixed_dictionaries(
    {
        "size": st.sampled_from([1, 3, 5, 7]),
        "alpha": st.sampled_from([1e-4, 1.0]),
        "beta": st.sampled_from([0.75, 0.5, 1.0]),
        "k": st.sampled_from([2.0, 1.0]),
    }
)
norm_cases = st.lists(
    st.tuples(norms, st.integers(1, 9), st.integers(0, 99)), min_size=10, max_size=10
)


def naive_norm(x: jax.Array, size: int, alpha: float, beta: float, k: float) -> jax.Array:
    maps = x.shape[-1]
    near = np.abs(np.subtract.outer(np.arange(maps), np.arange(maps))) <= size // 2
    return x / (k + alpha / size * jnp.square(x) @ jnp.asarray(near, x.dtype)) ** beta


@types
@settings(max_examples=2)
@given(cases=norm_cases)
def test_contrast_norm_is_the_loop_and_its_gradient_the_formula_s(dtype, cases):
    def gradients(constants):
        def all_three(x: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            y, pull = jax.vjp(lambda x: contrast_norm(x, **constants), x)
            (expected,) = jax.vjp(lambda x: naive_norm(x, **constants), x)[1](g)
            return y, pull(g)[0], expected

        return all_three

    inputs = [
        tuple(3 * normal(seed + shift, 2, 2, 3, maps, dtype=dtype) for shift in range(2))
        for _, maps, seed in cases
    ]
    with precision(dtype):
        results = together([gradients(constants) for constants, *_ in cases], inputs)
    for (constants, *_), (x, _), (y, gradient, expected) in zip(
        cases, inputs, results, strict=True
    ):
        assert y.dtype == gradient.dtype == dtype
        loop = loops.contrast_norm(np.float64(x), **constants)
        assert loops.relative(y, loop) <= TOLERANCE[dtype]
        assert loops.relative(gradient, expected) <= TOLERANCE[dtype]


def test_the_gradient_of_contrast_norm_is_that_of_small_steps():
    with precision("float64"):
        x = 3 * normal(0, 1, 1, 1, 6)
        constants = {"size": 3, "alpha": 1.0, "beta": 0.75, "k": 2.0}

        @jax.jit
        def total(x: jax.Array) -> jax.Array:
            return (contrast_norm(x, **constants) * np.arange(6.0)).sum()

        step = 1e-5
        slopes = [
            (total(x + step * unit) - total(x - step * unit)) / (2 * step)
            for unit in np.eye(6)[:, None, None, None]
        ]
        gradient = jax.grad(lambda x: (contrast_norm(x, **constants) * jnp.arange(6.0)).sum())(
            jnp.asarray(x)
        )
    np.testing.assert_allclose(gradient[0, 0, 0], slopes, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_operations_keep_the_type(dtype):
    x = jnp.ones((1, 5, 5, 2), dtype)
    kernel = jnp.ones((3, 3, 2, 2), dtype)
    values, switches = max_pool(x)
    for result in (
        conv(x, kernel),
        conv_transpose(x, kernel),
        values,
        max_unpool(values, switches),
        contrast_norm(x),
        jax.grad(lambda x: contrast_norm(x).sum())(x),
        jax.grad(lambda x: max_pool(x)[0].sum())(x),
    ):
        assert result.dtype == dtype
