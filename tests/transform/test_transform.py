"""The deconvnet as a function transform: every form of ReLU, three rules, and the explicit one."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, Case, make_case, precision
from flax import linen as nn
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from zfnet_jax.features import mining
from zfnet_jax.transform.projection import count_relus, deconvnet, project_units
from zfnet_jax.zfnet import deconvnet as explicit
from zfnet_jax.zfnet.architecture import ZFNET
from zfnet_jax.zfnet.units import Units

# Forms of a ReLU


@jax.custom_jvp
def _own_jvp(x: Array) -> Array:
    return jax.nn.relu(x)


_own_jvp.defjvp(lambda primals, tangents: (_own_jvp(*primals), 100 * tangents[0]))


@jax.custom_vjp
def _own_vjp(x: Array) -> Array:
    return jax.nn.relu(x)


_own_vjp.defvjp(lambda x: (_own_vjp(x), None), lambda _, signal: (100 * signal,))


def _passed_zero(x: Array) -> Array:
    return jax.jit(lambda x, low: lax.max(x, jnp.broadcast_to(low, x.shape)))(x, 0.0)


EYE, KEY = jnp.eye(6), jax.random.key(3)
FORMS: dict[str, Callable[[Array], Array]] = {
    "jax.nn.relu": jax.nn.relu,
    "linen": nn.relu,
    "nnx": nnx.relu,
    "jnp.maximum(x, 0)": lambda x: jnp.maximum(x, 0),
    "jnp.maximum(0, x)": lambda x: jnp.maximum(0.0, x),
    "jnp.clip": lambda x: jnp.clip(x, 0),
    "lax.max with zeros": lambda x: lax.max(x, jnp.zeros_like(x)),
    "lax.max with a constant": lambda x: lax.max(x, np.zeros(6, np.float32)),
    "zero from outside": _passed_zero,
    "jit": jax.jit(lambda x: jax.jit(jax.nn.relu)(x)),
    "remat": jax.checkpoint(jax.nn.relu),
    "custom_jvp": _own_jvp,
    "custom_vjp": _own_vjp,
    "vmap": jax.vmap(jax.nn.relu),
    "scan": lambda x: lax.scan(lambda c, _: (jax.nn.relu(c), None), x, length=3)[0],
    "scan over slices": lambda x: lax.scan(lambda c, y: (c, jax.nn.relu(y)), 0.0, x)[1],
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda _, c: jax.nn.relu(c), x),
    "cond": lambda x: lax.cond(x.sum() < 100, jax.nn.relu, jnp.sin, x),
    "jit with captured weights": jax.jit(lambda x: jax.nn.relu(EYE @ x)),
    "remat with captured weights": jax.checkpoint(jax.jit(lambda x: jax.nn.relu(EYE @ x))),
    "vmap with captured weights": jax.vmap(jax.jit(lambda x: jax.nn.relu(x * EYE[0, 0]))),
    "a captured key": lambda x: jax.nn.relu(x + 0 * jax.random.normal(KEY, x.shape)),
    "a scalar against zeros": lambda x: jax.vmap(lambda y: lax.max(y, jnp.zeros(())))(x),
    "remat of scan": jax.checkpoint(
        lambda x: lax.scan(lambda c, _: (jnp.maximum(c, 0), None), x, length=2)[0]
    ),
}
X = np.array([-2, -1, -0.5, 0.5, 1, 2], np.float32)
SEED = np.array([-3, 4, -5, 6, -7, 8], np.float32)
BELOW = {
    "deconvnet": [0, 4, 0, 6, 0, 8],
    "guided": [0, 0, 0, 6, 0, 8],
    "gradient": [0, 0, 0, 6, -7, 8],
}


@pytest.mark.parametrize("rule", BELOW)
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_relu_gets_the_rule(form: str, rule: Any):
    outputs, project = deconvnet(FORMS[form], rule=rule)(X)
    np.testing.assert_array_equal(outputs, np.maximum(X, 0))
    np.testing.assert_array_equal(project(SEED), BELOW[rule])


def test_a_relu_behind_complex_numbers_is_found():
    def function(x: Array) -> Array:
        return jax.nn.relu(jnp.fft.ifft(jnp.fft.fft(x)).real)

    _, project = deconvnet(function)(X)
    np.testing.assert_allclose(project(SEED), BELOW["deconvnet"], atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_one_relu(form: str):
    assert count_relus(FORMS[form], X) == 1


@pytest.mark.parametrize(
    "function",
    [
        jax.nn.softplus,
        jax.nn.leaky_relu,
        jax.nn.celu,
        jax.nn.hard_silu,
        jax.nn.standardize,
        lambda x: nn.LayerNorm().apply({"params": {"scale": X, "bias": X}}, x),
        lambda x: x * (jnp.maximum(jnp.mean(x * x) - 1, 0) + 1e-5) ** -0.5,
        lambda x: x / jnp.power(jnp.maximum(jnp.mean(x * x) - 1, 0) + 1e-5, 0.5),
        jax.nn.softmax,
        jax.nn.gelu,
        lambda x: jnp.maximum(x, 1),
        lambda x: jnp.maximum(x, -x),
        lambda x: lax.scan(lambda c, y: (c + y, jnp.maximum(y, c)), 0.0, x)[1],
        lambda x: x * jnp.maximum(jnp.argsort(x), 0),
        lambda x: (jax.nn.relu(x), x)[1],
        lambda x: x * jnp.maximum(EYE[0], 0),
        lambda x: x + jax.nn.relu(lax.stop_gradient(x)),
        lambda x: jax.image.resize(x, (6,), "linear") + jax.image.resize(x, (12,), "linear")[:6],
        lambda x: x * lax.while_loop(lambda c: c < 5, lambda c: jnp.maximum(c, 0) + 1, 0.0),
        lambda x: x.at[0].max(0.0),
    ],
    ids=[
        "softplus",
        "leaky",
        "celu",
        "hard_silu",
        "standardize",
        "LayerNorm",
        "variance ** -0.5",
        "power of a variance",
        "softmax",
        "gelu",
        "above1",
        "abs",
        "running",
        "integers",
        "unused",
        "weights",
        "stopped",
        "resize",
        "loop beside",
        "scatter",
    ],
)
@pytest.mark.filterwarnings("ignore:activations that are no ReLU")
def test_what_is_no_relu_is_left_alone(function: Callable[[Array], Array]):
    assert count_relus(function, X) == 0

    def beside_a_relu(x: Array) -> tuple[Array, Array]:
        return function(x), jax.nn.relu(x)

    _, project = deconvnet(beside_a_relu)(X)
    _, pullback = jax.vjp(function, X)
    np.testing.assert_allclose(project((SEED, 0 * SEED)), *pullback(SEED), rtol=1e-6)


def test_a_relu_whose_root_is_taken_too_is_one():
    assert count_relus(lambda x: (jnp.sqrt(jax.nn.relu(x) + 1), x), X) == 1
    assert count_relus(lambda x: (lambda y: (y, jnp.sqrt(y + 1)))(jnp.maximum(x, 0)), X) == 1


def test_a_skipped_function_is_skipped_on_the_way_back_only():
    @jax.jit
    def lrn(x: Array) -> Array:
        return x / (1 + x * x)

    outputs, project = deconvnet(lambda x: lrn(jax.nn.relu(x)), skip=["lrn"])(X)
    np.testing.assert_allclose(outputs, lrn(np.maximum(X, 0)), rtol=1e-6)
    np.testing.assert_array_equal(project(SEED), BELOW["deconvnet"])


def test_relus_are_counted_where_they_stand():
    def function(x: Array) -> Array:
        for _ in range(3):
            x = jax.nn.relu(x) - 1
        x, _ = lax.scan(lambda c, _: (jax.nn.relu(c), None), x, length=7)
        return x

    assert count_relus(function, X) == 4


# The explicit deconvnet

RULES = {"deconvnet": "signal", "guided": "both", "gradient": "mask"}
BOUND = {"float32": 1e-6, "float64": 1e-12}


def _maps(case: Case, layer: str, params: Any) -> Callable[[Array], Array]:
    return lambda images: case.model.apply({"params": params}, images)[1].activations[layer]


def _difference(case: Case, layer: str, dtype: str, rule: Any, skip: tuple[str, ...]) -> float:
    """The relative distance of the transform's projection and the explicit one."""
    model = case.model.clone(dtype=jnp.dtype(dtype))
    case = case._replace(model=model, images=jnp.asarray(case.images, dtype))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), case.params)
    _, trace = jax.jit(model.apply)({"params": params}, case.images)
    shape = trace.activations[layer].shape
    seed = jnp.asarray(np.random.default_rng(5).normal(size=shape), dtype)
    transformed = deconvnet(_maps(case, layer, params), rule=rule, skip=skip)
    pixels = jax.jit(lambda images, seed: transformed(images)[1](seed))(case.images, seed)
    norm = "skip" if skip else "gradient"
    expected = explicit.project(
        case.arch, params, trace, layer, seed, rectify=RULES[rule], norm=norm
    )
    return float(np.linalg.norm(pixels - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("layer", "rule", "dtype"),
    [
        *((layer, "deconvnet", "float64") for layer in TINY.shapes()),
        *(
            (layer, rule, "float64")
            for layer in ("norm2", "fc5")
            for rule in ("guided", "gradient")
        ),
        *(("fc5", rule, "float32") for rule in RULES),
    ],
)
def test_is_the_explicit_deconvnet(tiny: Case, layer: str, rule: str, dtype: str):
    # A norm that is skipped must be there, and it is not below the first.
    skip = ("contrast_norm",) if TINY.index(layer) >= TINY.index("norm1") else ()
    with precision(dtype):
        assert _difference(tiny, layer, dtype, rule, skip) < BOUND[dtype]


def test_norm_can_be_kept(tiny: Case):
    assert _difference(tiny, "conv3", "float32", "deconvnet", ()) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["conv5", "fc8"])
def test_is_the_explicit_deconvnet_on_the_papers_net(layer: str):
    case = make_case(ZFNET, num_classes=10, images=1)
    assert _difference(case, layer, "float32", "deconvnet", ("contrast_norm",)) < 1e-6


@pytest.fixture(scope="module")
def mined(tiny: Case, function: Any) -> dict[str, mining.LayerStatistics]:
    """Three layers of the tiny case's images, which have other numbers in the data set."""
    rows = np.array([*range(3), *[0] * 5])  # a multiple of the devices
    numbers = np.array([40, 7, 12, *[-1] * 5])
    batch = (np.asarray(tiny.images)[rows], numbers, np.full(8, -1))
    return mining.mine(function, [batch], ["conv2", "conv3", "fc4"], k=2)


@pytest.mark.parametrize("layer", ["conv2", "conv3", "fc4"])
def test_units_of_any_function_are_those_of_the_explicit_deconvnet(
    tiny: Case, function: Any, mined: dict[str, mining.LayerStatistics], layer: str
):
    numbers, units = mining.top_units(mined[layer], k=1)
    images = jnp.stack([tiny.images[[40, 7, 12].index(number)] for number in numbers])
    skip = ("contrast_norm",)
    project = jax.jit(lambda images: project_units(function, images, layer, units, skip=skip))
    pixels = np.asarray(project(images))
    _, trace = jax.jit(tiny.model.apply)({"params": tiny.params}, images[units.image])
    own = np.arange(len(pixels))
    seed = np.zeros(trace.activations[layer].shape, np.float32)
    index = (own, units.map) if seed.ndim == 2 else (own, units.row, units.col, units.map)
    seed[index] = units.value
    expected = explicit.project(tiny.arch, tiny.params, trace, layer, jnp.asarray(seed))
    for ours, theirs in zip(pixels, np.asarray(expected), strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-6 * np.linalg.norm(theirs)
        assert np.any(theirs)


# Composition


def _layers(x: Array, kernels: Any) -> Array:
    for kernel in kernels:
        x = jax.nn.relu(x @ kernel)
    return x


KERNELS = [np.random.default_rng(i).normal(size=(6, 6)).astype(np.float32) for i in range(2)]


def test_composes_with_jit():
    transformed = deconvnet(_layers)
    outputs, project = jax.jit(transformed)(X, KERNELS)
    np.testing.assert_allclose(outputs, _layers(X, KERNELS), rtol=1e-5)
    at_once = jax.jit(lambda x, seed: transformed(x, KERNELS)[1](seed))(X, SEED)
    np.testing.assert_allclose(project(SEED), at_once, rtol=1e-5)
    np.testing.assert_allclose(transformed(X, KERNELS)[1](SEED), at_once, rtol=1e-5)


def test_composes_with_vmap():
    transformed = deconvnet(_layers, rule="guided")
    xs, seeds = np.stack([X, -X, 2 * X]), np.stack([SEED, -SEED, SEED])

    def project(x: Array, seed: Array) -> Array:
        return transformed(x, KERNELS)[1](seed)

    one_by_one = [project(*pair) for pair in zip(xs, seeds, strict=True)]
    np.testing.assert_allclose(jax.vmap(project)(xs, seeds), one_by_one, rtol=1e-5)
    _, batched = jax.vmap(lambda x: transformed(x, KERNELS))(xs)
    np.testing.assert_allclose(
        jax.vmap(lambda way, seed: way(seed))(batched, seeds), one_by_one, rtol=1e-5
    )


def test_composes_with_grad():
    def energy(kernels: Any) -> Array:
        return jnp.sum(deconvnet(_layers)(X.astype(kernels[0].dtype), kernels)[1](SEED) ** 2)

    with precision("float64"):
        kernels = [kernel.astype(np.float64) for kernel in KERNELS]
        slope = jax.grad(energy)(kernels)[1][2, 3]
        step = np.zeros((6, 6))
        step[2, 3] = 1e-6
        up, down = (energy([kernels[0], kernels[1] + sign * step]) for sign in (1, -1))
        assert abs(slope) > 1
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-6)


@given(st.lists(st.floats(-4, 4, width=32), min_size=6, max_size=6), st.floats(0, 8, width=32))
def test_is_positively_homogeneous_in_its_seed(seed: list[float], factor: float):
    _, project = deconvnet(_layers)(X, KERNELS)
    scaled = project(np.float32(factor) * np.float32(seed))
    np.testing.assert_allclose(scaled, factor * project(np.float32(seed)), rtol=1e-4, atol=1e-4)


def test_outputs_may_be_a_tree():
    _, project = deconvnet(lambda x: {"a": jax.nn.relu(x), "b": 3 * x})(X)
    np.testing.assert_array_equal(project({"a": SEED, "b": np.ones(6)}), np.maximum(SEED, 0) + 3)


# Users' own networks: the same small net in three libraries


class LinenNet(nn.Module):
    """Two convolutions, a pool between them, a sum around the second."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Conv(4, (3, 3), name="first")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.relu(x + nn.Conv(4, (3, 3), name="second")(x))


class NnxNet(nnx.Module):
    """The same net."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.second = nnx.Conv(4, 4, (3, 3), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        return nnx.relu(x + self.second(x))


class EquinoxNet(eqx.Module):
    """The same net, of one picture with its channels first."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d

    def __init__(self) -> None:
        one, other = jax.random.split(jax.random.key(0))
        self.first = eqx.nn.Conv2d(3, 4, 3, padding=1, key=one)
        self.second = eqx.nn.Conv2d(4, 4, 3, padding=1, key=other)
        self.pool = eqx.nn.MaxPool2d(2, 2)

    def __call__(self, x: Array) -> Array:
        x = self.pool(jax.nn.relu(self.first(x)))
        return jax.nn.relu(x + self.second(x))


PICTURES = np.random.default_rng(3).normal(size=(2, 8, 8, 3)).astype(np.float32)


def test_nets_of_three_libraries_are_one():
    linen = LinenNet()
    variables = jax.jit(linen.init)(jax.random.key(1), PICTURES)
    weights = {
        name: (layer["kernel"], layer["bias"] + 0.1) for name, layer in variables["params"].items()
    }
    variables = {"params": {n: {"kernel": k, "bias": b} for n, (k, b) in weights.items()}}
    in_nnx, in_equinox = NnxNet(), EquinoxNet()
    for name, (kernel, bias) in weights.items():
        layer = getattr(in_nnx, name)
        layer.kernel, layer.bias = nnx.Param(kernel), nnx.Param(bias)
        flipped = (kernel.transpose(3, 2, 0, 1), bias[:, None, None])
        in_equinox = eqx.tree_at(
            lambda net, name=name: (getattr(net, name).weight, getattr(net, name).bias),
            in_equinox,
            flipped,
        )

    def channels_last(pictures: Array) -> Array:
        return jax.vmap(in_equinox)(pictures.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)

    functions = [lambda x: linen.apply(variables, x), in_nnx, channels_last]
    seed = np.random.default_rng(4).normal(size=(2, 4, 4, 4)).astype(np.float32)
    first, *others = (
        jax.jit(lambda x, function=function: deconvnet(function)(x)[1](seed))(PICTURES)
        for function in functions
    )
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-6)
    gradient = jax.jit(lambda x: jax.vjp(functions[0], x)[1](seed)[0])(PICTURES)
    assert np.linalg.norm(first - gradient) > 0.1 * np.linalg.norm(gradient)
    assert [count_relus(function, PICTURES) for function in functions] == [2, 2, 2]


# What a user can get wrong


def _branches(x: Array) -> Array:
    return jax.nn.relu(x) if x.sum() > 0 else x


def _loops(x: Array) -> Array:
    return lax.while_loop(lambda c: c.sum() < 5, lambda c: jax.nn.relu(c) + 1, x)


@jax.jit
def _sum_of_two(x: Array, y: Array) -> Array:
    return jax.nn.relu(x) + y


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (jnp.sin, {}, "function without a ReLU: expected jax.nn.relu"),
        (jax.nn.relu, {"rule": "saliency"}, "rule 'saliency': expected one of deconvnet, guided"),
        (jax.nn.relu, {"skip": ["lrn"]}, r"skip \['lrn'\]: expected names of functions"),
        (
            lambda x: jax.nn.relu(checkpoint_name(x, "lrn")),
            {"skip": ["lrn"]},
            r"skip \['lrn'\]: expected names of functions",
        ),
        (jax.nn.relu, {"skip": "lrn"}, r"skip 'lrn': expected a list of names"),
        (lambda x: jax.nn.relu(x)[x > 0], {}, r"test_transform.py:\d+: .* needs a value"),
        (_branches, {}, r"test_transform.py:\d+: .* if x.sum\(\) > 0 .* needs a value"),
        (_loops, {}, r"ReLU in a while at test_transform.py:\d+: .* lax.scan"),
        (
            lambda x: _sum_of_two(x, x),
            {"skip": ["_sum_of_two"]},
            "skipped function '_sum_of_two': .* expected one result, and one operand like it",
        ),
    ],
    ids=[
        "none",
        "rule",
        "skip",
        "no function",
        "string",
        "indices",
        "branches",
        "while",
        "ambiguous",
    ],
)
def test_refuses(function: Callable[[Array], Array], options: Any, message: str):
    with pytest.raises(ValueError, match=message):
        deconvnet(function, **options)(X)


def test_refuses_a_seed_of_another_shape():
    _, project = deconvnet(jax.nn.relu)(X)
    with pytest.raises(ValueError, match=r"seed of shape \(5,\): expected the outputs' \(6,\)"):
        project(SEED[:5])


def test_refuses_whole_numbers():
    with pytest.raises(ValueError, match="images of type uint8: expected floating point"):
        deconvnet(jax.nn.relu)(np.zeros((1, 8, 8, 3), np.uint8))


def test_refuses_a_layer_that_is_not_there(tiny: Case, function: Any):
    units = Units(*(np.array([0]) for _ in range(4)), np.ones(1))
    with pytest.raises(ValueError, match="layer 'block3': expected one of conv1, conv2"):
        project_units(function, tiny.images, "block3", units)
