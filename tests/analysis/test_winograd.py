"""Winograd's convolution against the plain one: the same numbers, in fewer multiplications."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, TINY, precision, random_params
from hypothesis import assume, given
from hypothesis import strategies as st
from jax.tree_util import Partial

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
    dtype: str, shape: tuple[int, ...], size: int, outputs: int, stride: int, pads: ops.Pads
) -> tuple[np.ndarray, np.ndarray]:
    """What the two convolutions give for the same random maps and filters."""
    rng = np.random.default_rng(0)
    with precision(dtype):
        x = jnp.asarray(rng.normal(size=shape), dtype)
        kernel = jnp.asarray(rng.normal(size=(size, size, shape[-1], outputs)), dtype)
        filters = CombinedFilters(combine_taps(kernel, stride), size)
        found = winograd.conv(x, filters, stride=stride, pads=pads)
        assert found.dtype == dtype
        return np.asarray(found), np.asarray(ops.conv(x, kernel, stride=stride, pads=pads))


def net_of(arch: Architecture) -> Net:
    frame = frame_size(arch.input_size)
    return Net(
        arch,
        random_params(arch, CLASSES),
        Preprocessing(frame, np.zeros((frame, frame, 3), np.float32)),
        tuple(map(str, range(CLASSES))),
        step=0,
    )


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@given(
    dtype=st.sampled_from(["float32", "float64"]),
    stride=st.integers(1, 3),
    short=st.integers(0, 2),
    windows=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    before=st.integers(0, 2),
    cut=st.integers(-2, 2),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_it_is_the_plain_convolution(dtype, stride, short, windows, before, cut, channels):
    size = 3 * stride - min(short, stride - 1)
    high, wide = ((count - 1) * stride + size - before - cut for count in windows)
    assume(min(high, wide) >= 1)
    pads = ((before, cut), (before, cut))
    found, expected = both(
        dtype, (2, high, wide, channels[0]), size, channels[1], stride=stride, pads=pads
    )
    assert apart(found, expected) < BOUNDS[dtype]


@pytest.mark.parametrize("shape", [(3, 13, 13, 384), (3, 55, 55, 96)], ids=["conv4", "conv2"])
def test_rounding_stays_small_over_as_many_maps_as_the_paper_s(shape):
    size, stride, pad = (3, 1, (1, 1)) if shape[1] == 13 else (5, 2, (0, 0))
    found, expected = both("float32", shape, size, 64, stride, (pad, pad))
    assert apart(found, expected) < BOUNDS["float32"]


@pytest.mark.parametrize("count", [1, 6, 7])
def test_a_batch_in_parts_is_the_batch(monkeypatch, count):
    shape = (count, 11, 9, 4)
    whole, expected = both("float32", shape, 3, 5, 1, ops.NO_PADS)
    one = 49 * 2 * 2 * 4 * 4  # points, tiles, maps, bytes
    monkeypatch.setattr(winograd, "_CACHE", 3 * one)
    found, _ = both("float32", shape, 3, 5, 1, ops.NO_PADS)
    assert apart(whole, expected) < BOUNDS["float32"]
    assert apart(found, whole) < BOUNDS["float32"]


def test_no_pictures():
    found, expected = both("float32", (0, 11, 9, 4), 3, 5, 1, ops.NO_PADS)
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
    logits, activations = fast(images)
    plain_logits, plain = network(net)(images)
    assert apart(np.asarray(logits), np.asarray(plain_logits)) < BOUNDS["float32"]
    assert list(activations) == list(plain)
    for name, maps in activations.items():
        assert apart(np.asarray(maps), np.asarray(plain[name])) < BOUNDS["float32"], name


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


def test_several_devices_share_the_plain_one():
    assert jax.local_device_count() > 1
    assert fast_network(net_of(FAST)).func is network(net_of(FAST)).func


@pytest.mark.usefixtures("one_device")
def test_equal_architectures_compile_once():
    assert fast_network(net_of(TINY)).func is fast_network(net_of(TINY)).func
    assert fast_network(net_of(TINY)).func is not network(net_of(TINY)).func
