"""Winograd's convolution against the plain one: the same numbers, in fewer multiplications."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, TINY, precision, random_params
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial
from together import together

from zfnet_jax.analysis import winograd
from zfnet_jax.analysis.occlusion import occlude
from zfnet_jax.analysis.winograd import CombinedFilters, combine_taps, fast_network
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.networks.function import network
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.architecture import ALEXNET, ZFNET, Architecture

BOUNDS = {"float32": 1e-5, "float64": 1e-12}


def both(
    x: jax.Array, kernel: jax.Array, *, stride: int, pads: ops.Pads = ops.NO_PADS
) -> tuple[jax.Array, jax.Array]:
    """What the two convolutions give."""
    filters = CombinedFilters(combine_taps(kernel, stride), len(kernel))
    found = winograd.conv(x, filters, stride=stride, pads=pads)
    return found, ops.conv(x, kernel, stride=stride, pads=pads)


def operands(
    dtype: str, shape: tuple[int, ...], size: int, outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random maps and filters."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(size, size, shape[-1], outputs))
    return rng.normal(size=shape).astype(dtype), kernel.astype(dtype)


def net_of(arch: Architecture, seed: int = 0) -> Net:
    frame = frame_size(arch.input_size)
    return Net(
        arch,
        random_params(arch, CLASSES, seed),
        Preprocessing(frame, np.zeros((frame, frame, 3), np.float32)),
        tuple(map(str, range(CLASSES))),
        step=0,
    )


def apart(found: Any, expected: Any) -> float:
    assert found.shape == expected.shape
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@st.composite
def convolutions(draw) -> tuple[tuple[int, ...], int, int, int, ops.Pads]:
    """The maps' shape, the filters' size and number, the stride and the pads."""
    stride = draw(st.integers(1, 3))
    size = 3 * stride - draw(st.integers(0, stride - 1))
    before, cut = draw(st.integers(0, 2)), draw(st.integers(-2, 2))
    smallest = max(0, before + cut + 1 - size)  # so that a pixel is left
    counts = (1 + -(-smallest // stride) + draw(st.integers(0, 11)) for _ in range(2))
    high, wide = ((count - 1) * stride + size - before - cut for count in counts)
    inputs, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return (2, high, wide, inputs), size, outputs, stride, ((before, cut), (before, cut))


@pytest.mark.parametrize("dtype", BOUNDS)
@settings(max_examples=2)  # the first is the simplest, twelve times
@given(cases=st.lists(convolutions(), min_size=12, max_size=12))
def test_it_is_the_plain_convolution(dtype, cases):
    with precision(dtype):
        results = together(
            [partial(both, stride=stride, pads=pads) for *_, stride, pads in cases],
            [operands(dtype, shape, size, outputs) for shape, size, outputs, *_ in cases],
        )
    for found, expected in results:
        assert found.dtype == dtype
        assert apart(found, expected) < BOUNDS[dtype]


@pytest.mark.parametrize("shape", [(3, 13, 13, 384), (3, 55, 55, 96)], ids=["conv4", "conv2"])
def test_rounding_stays_small_over_as_many_maps_as_the_paper_s(shape):
    size, stride, pad = (3, 1, (1, 1)) if shape[1] == 13 else (5, 2, (0, 0))
    convolved = jax.jit(partial(both, stride=stride, pads=(pad, pad)))
    assert apart(*convolved(*operands("float32", shape, size, 64))) < BOUNDS["float32"]


@pytest.mark.parametrize("count", [1, 6, 7])
def test_a_batch_in_parts_is_the_batch(monkeypatch, count):
    arrays = operands("float32", (count, 11, 9, 4), 3, 5)
    whole, expected = jax.jit(partial(both, stride=1))(*arrays)
    one = 49 * 2 * 2 * 4 * 4  # points, tiles, maps, bytes
    monkeypatch.setattr(winograd, "_CACHE", 3 * one)
    found, _ = jax.jit(partial(both, stride=1))(*arrays)
    assert apart(whole, expected) < BOUNDS["float32"]
    assert apart(found, whole) < BOUNDS["float32"]


def test_no_pictures():
    found, expected = jax.jit(partial(both, stride=1))(*operands("float32", (0, 11, 9, 4), 3, 5))
    assert found.shape == expected.shape == (0, 9, 7, 5)


def test_windows_must_fill_the_map():
    filters = CombinedFilters(combine_taps(jnp.zeros((5, 5, 2, 3)), 2), 5)
    with pytest.raises(ValueError, match="expected windows of 5 with stride 2"):
        winograd.conv(jnp.zeros((1, 12, 11, 2)), filters, stride=2)


@pytest.mark.parametrize(
    ("arch", "gain"),
    [
        (ZFNET, ["conv2", "conv3", "conv4", "conv5"]),
        (ALEXNET, ["conv1", "conv3", "conv4", "conv5"]),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_layers_that_come_to_three_taps_gain(arch: Architecture, gain):
    params = {
        name: {"kernel": jax.ShapeDtypeStruct(shape, "float32")}
        for name, shape in arch.kernel_shapes(10).items()
    }
    prepared = jax.eval_shape(lambda params: winograd.prepare(arch, params), params)
    kernels = {name: layer["kernel"] for name, layer in prepared.items()}
    assert [name for name, kernel in kernels.items() if isinstance(kernel, CombinedFilters)] == gain
    assert kernels["fc6"].shape == arch.kernel_shapes(10)["fc6"]
    assert {kernels[name].points.shape[0] for name in gain} == {49}


@pytest.fixture
def one_device(monkeypatch):
    """As on a user's CPU; the tests' own is cut into several."""
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)


def fast_layers(function: Partial) -> list[str]:
    kernels = {name: layer["kernel"] for name, layer in function.args[0].items()}
    return [name for name, kernel in kernels.items() if isinstance(kernel, CombinedFilters)]


# Of strides 1 and 2.
FAST = TINY.with_features(conv1=32, conv2=40, conv3=48).edit("conv2", size=5, stride=2)


@pytest.mark.usefixtures("one_device")
def test_a_fast_network_is_the_network_but_for_rounding():
    net = net_of(FAST)
    images = jnp.float32(np.random.default_rng(1).normal(0, 60, (5, 32, 32, 3)))
    fast = fast_network(net)
    assert fast_layers(fast) == ["conv2", "conv3"]
    run = jax.jit(lambda function, images: function(images))
    logits, activations = run(fast, images)
    plain_logits, plain = run(network(net), images)
    assert apart(logits, plain_logits) < BOUNDS["float32"]
    assert list(activations) == list(plain)
    for name, maps in activations.items():
        assert apart(maps, plain[name]) < BOUNDS["float32"], name


@pytest.mark.usefixtures("one_device")
def test_occlusion_is_the_same_with_it(monkeypatch):
    monkeypatch.setattr(winograd, "_CACHE", 2**20)  # a batch in several parts
    net = net_of(FAST)
    image = np.random.default_rng(2).normal(0, 60, (32, 32, 3)).astype(np.float32)
    found, expected = (
        occlude(function, image, "conv3", size=10, stride=2, batch_size=24)
        for function in (fast_network(net), network(net))
    )
    assert found.unit[:3] == expected.unit[:3]
    assert apart(found.outputs, expected.outputs) < BOUNDS["float32"]
    assert apart(found.activity, expected.activity) < BOUNDS["float32"]


def test_on_several_devices_nothing_is_combined():
    assert jax.local_device_count() > 1
    net = net_of(FAST)
    assert fast_layers(fast_network(net)) == []
    for plain, fast in zip(
        *map(jax.tree.leaves, (net.params, fast_network(net).args)), strict=True
    ):
        np.testing.assert_array_equal(fast, plain)


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("function_of", [network, fast_network])
def test_nets_of_one_architecture_compile_once(function_of):
    arch = TINY.with_features(conv2=32, conv3=32)
    traces = []

    @jax.jit
    def logits(function: Partial, images: jax.Array) -> jax.Array:
        traces.append(function)
        return function(images)[0]

    images = np.ones((1, 32, 32, 3), np.float32)
    one, other = (logits(function_of(net_of(arch, seed)), images) for seed in (0, 1))
    assert len(traces) == 1
    assert np.any(one != other)
