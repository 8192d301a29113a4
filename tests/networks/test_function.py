"""A trained net as a function: of network space and of raw pictures, compiled once."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import CLASSES, TINY, random_params
from jax.tree_util import Partial

from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.networks.function import network, network_input, network_of_raw
from zfnet_jax.networks.net import Net

RAW = np.random.default_rng(0).integers(0, 256, (2, 37, 37, 3), np.uint8)


def net_of(seed: int) -> Net:
    mean = np.random.default_rng(seed).uniform(90, 160, (37, 37, 3)).astype(np.float32)
    preprocessing = Preprocessing(37, mean, (0.02, 0.03, 0.04), "bgr")
    names = tuple(map(str, range(CLASSES)))
    return Net(TINY, random_params(TINY, CLASSES, seed), preprocessing, names)


@jax.jit
def run(function: Partial, images: np.ndarray):
    return function(images)


def test_raw_pictures_are_seen_through_the_preprocessing_and_the_centre_view():
    net = net_of(0)
    top = (37 - 32) // 2
    by_hand = (RAW[..., ::-1] - net.preprocessing.mean) * np.float32(net.preprocessing.scale)
    by_hand = by_hand[:, top : top + 32, top : top + 32].astype(np.float32)
    np.testing.assert_allclose(network_input(net)(RAW), by_hand, rtol=1e-5, atol=1e-5)
    logits, activations = run(network_of_raw(net), RAW)
    expected, expected_activations = run(network(net), by_hand)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert set(activations) == set(expected_activations) == {layer.name for layer in TINY}


@pytest.mark.parametrize("function_of", [network, network_of_raw])
def test_nets_of_one_architecture_compile_once(function_of):
    traces = []

    @jax.jit
    def logits(function: Partial, images: np.ndarray) -> jax.Array:
        traces.append(function)
        return function(images)[0]

    images = RAW if function_of is network_of_raw else np.float32(RAW[:, :32, :32])
    one, other = (logits(function_of(net_of(seed)), images) for seed in (0, 1))
    assert len(traces) == 1
    assert np.any(one != other)
    if function_of is network_of_raw:
        scaled = replace(net_of(0), preprocessing=replace(net_of(0).preprocessing, scale=1.0))
        assert np.any(logits(function_of(scaled), images) != one)
