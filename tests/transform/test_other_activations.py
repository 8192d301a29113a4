"""Activations that are no ReLU: found as a whole, counted, named, and none where there is none."""

import re
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blocks import BLOCKS, pictures
from flax import linen as nn
from jax import Array, lax

from zfnet_jax.transform import count_relus, deconvnet

MATRIX = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
X = np.array([-2, -1, -0.5, 0.5, 1, 2], np.float32)


def _warnings(function: Callable[..., Array], x: Array | np.ndarray = X) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        deconvnet(function)(x)
    return [str(warning.message) for warning in caught]


def _squeeze_and_excite(gate: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def block(x: Array) -> Array:
        x = jax.nn.relu(x @ MATRIX)
        return x * gate(jax.nn.relu(x.mean() * MATRIX[0]) @ MATRIX)

    return block


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], str]] = {
    "leaky_relu": (jax.nn.leaky_relu, "leaky_relu"),
    "leaky as a maximum": (lambda x: jnp.maximum(x, 0.1 * x), "max"),
    "PReLU as a sum": (
        lambda x: jnp.maximum(x, 0) + MATRIX[0] * jnp.minimum(x, 0),
        "add of max and min",
    ),
    "PReLU as two ReLUs": (
        lambda x: jax.nn.relu(x) - MATRIX[0] * jax.nn.relu(-x),
        "sub of max",
    ),
    "PReLU as a choice": (lambda x: jnp.where(x >= 0, x, MATRIX[0] * x), "select_n"),
    "ReLU as a choice": (lambda x: jnp.where(x > 0, x, 0), "select_n"),
    "hard_swish": (jax.nn.hard_swish, "hard_silu"),
    "hard swish by hand": (lambda x: x * jnp.clip(x + 3, 0, 6) / 6, "mul of max"),
    "elu": (jax.nn.elu, "elu"),
    "celu": (jax.nn.celu, "celu"),
    "gelu": (jax.nn.gelu, "mul of tanh"),
    "silu": (jax.nn.silu, "silu"),
    "softplus": (jax.nn.softplus, "softplus"),
    "hard_tanh": (jax.nn.hard_tanh, "hard_tanh"),
    "tanh": (jnp.tanh, "tanh"),
    "clip": (lambda x: jnp.clip(x, -1, 1), "max"),
    "abs": (jnp.abs, "abs"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_one_activation_is_one_and_is_named(name: str):
    activation, kind = ACTIVATIONS[name]

    def mixed(x: Array) -> Array:
        x = activation(jax.nn.relu(x @ MATRIX) @ MATRIX)
        return activation(x @ MATRIX) @ MATRIX

    (message,) = _warnings(mixed)
    assert message.startswith("activations that are no ReLU, and pass their gradient: 2 (")
    assert re.search(rf"{kind} at test_other_activations\.py:\d+", message), message
    assert count_relus(mixed, X) == 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_passes_its_gradient_whole(name: str):
    activation, _ = ACTIVATIONS[name]
    with pytest.warns(UserWarning, match="no ReLU"):
        _, project = deconvnet(lambda x: (activation(x), jax.nn.relu(x)))(X)
    seed = np.linspace(-3, 3, 6, dtype=np.float32)
    (expected,) = jax.vjp(activation, X)[1](seed)
    np.testing.assert_allclose(project((seed, 0 * seed)), expected, rtol=1e-5, atol=1e-6)


PURE: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "relu6": lambda x: jax.nn.relu6(x @ MATRIX),
    "relu6 by hand": lambda x: jnp.minimum(jnp.maximum(x @ MATRIX, 0), 6),
    "a sum around a ReLU": lambda x: jax.nn.relu(x + jax.nn.relu(x @ MATRIX) @ MATRIX),
    "both signs": lambda x: jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)]),
    "a product with itself": lambda x: (lambda y: y / (1 + y * y))(jax.nn.relu(x)),
    "squeeze and excitation": _squeeze_and_excite(jax.nn.sigmoid),
    "with a hard sigmoid": _squeeze_and_excite(jax.nn.hard_sigmoid),
    "softmax": lambda x: jax.nn.softmax(jax.nn.relu(x) @ MATRIX),
    "softmax by hand": lambda x: (lambda y: y / y.sum())(jnp.exp(jax.nn.relu(x) @ MATRIX)),
    "probabilities": lambda x: jax.nn.sigmoid(jax.nn.relu(x) @ MATRIX),
    "dropout": lambda x: jnp.where(MATRIX[0] > 0, jax.nn.relu(x) / 0.5, 0),
    "a pool": lambda x: jnp.maximum(jax.nn.relu(x)[:3], x[3:]),
    "a pool by choices": lambda x: (lambda a, b: jnp.where(b > a, b, a))(
        jax.nn.relu(x)[:3], jax.nn.relu(x)[3:]
    ),
    "a norm above zero": lambda x: (lambda y: y / jnp.maximum(jnp.linalg.norm(y), 1e-6))(
        jax.nn.relu(x)
    ),
    "a sum of magnitudes": lambda x: (lambda y: y / (1 + jnp.abs(y).sum()))(jax.nn.relu(x)),
    "scan": lambda x: lax.scan(lambda c, _: (jax.nn.relu(c @ MATRIX), None), x, length=2)[0],
}


@pytest.mark.parametrize("name", PURE)
def test_no_false_warning(name: str):
    assert _warnings(PURE[name]) == []


@pytest.mark.parametrize("block", BLOCKS)
def test_no_false_warning_in_well_known_blocks(block: str):
    assert _warnings(BLOCKS[block], pictures()) == []


class _BatchNormNet(nn.Module):
    """A residual block as in torchvision's ResNet."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(3, (3, 3))(x)))
        return nn.relu(x + nn.GroupNorm(1)(nn.Conv(3, (3, 3))(y)))


class _PReluNet(nn.Module):
    """A convolution and Linen's PReLU."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.relu(nn.PReLU(name="slope")(nn.Conv(3, (3, 3))(x)))


def _bound(net: nn.Module) -> Callable[[Array], Array]:
    x = np.ones((1, 6, 6, 3), np.float32)
    variables = jax.jit(net.init)(jax.random.key(0), x)
    return lambda x: net.apply(variables, x, mutable=["batch_stats"])[0]  # pyright: ignore


def test_nets_of_linen():
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 3)).astype(np.float32)
    assert _warnings(_bound(_BatchNormNet()), x) == []
    (message,) = _warnings(_bound(_PReluNet()), x)
    assert re.search(r"1 \(select_n .*in _PReluNet/slope\)", message), message


def test_an_activation_below_a_pool_or_a_mean_is_named():
    def function(x: Array) -> Array:
        x = jax.nn.leaky_relu(jax.nn.relu(x) @ MATRIX)
        x = lax.reduce_window(x, -np.inf, lax.max, (2,), (2,), "VALID")
        return jax.nn.silu(x @ MATRIX[:3]).mean()

    (message,) = _warnings(function)
    assert re.search(r"2 \(leaky_relu at .*, silu at ", message), message


def test_warns_once_a_trace():
    project = jax.jit(lambda x: deconvnet(lambda x: jax.nn.relu(jnp.tanh(x)))(x)[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            project(X)
    assert len(caught) == 1


def test_without_a_relu_the_others_are_named():
    with pytest.raises(ValueError, match=r"function without a ReLU: .*1 \(tanh at test_other_"):
        deconvnet(lambda x: jnp.tanh(x))(X)
    with pytest.raises(ValueError, match="function without a ReLU: "):
        deconvnet(lambda x: jnp.maximum(x, 0) + 0.2 * jnp.minimum(x, 0))(X)
