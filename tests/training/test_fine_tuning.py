from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY, random_params

from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.networks.net import Net
from zfnet_jax.training.fine_tuning import start_from
from zfnet_jax.zfnet.architecture import Conv, Dense

NAMES = ("cat", "dog", "fish")
LAYERS = [layer.name for layer in TINY if isinstance(layer, Conv | Dense)]


def other_net(size: int = 32, names: tuple[str, ...] = NAMES) -> Net:
    arch, frame = TINY.at(size), frame_size(size)
    mean = np.random.default_rng(0).uniform(0, 255, (frame, frame, 3)).astype(np.float32)
    preprocessing = Preprocessing(frame, mean, 0.02, "bgr")
    return Net(arch, random_params(arch, len(names)), preprocessing, names)


def test_of_the_same_classes_all_is_taken():
    net = other_net()
    start = start_from(net, "runs/a", TINY, NAMES)
    assert list(start.params) == LAYERS
    for layer, arrays in start.params.items():
        for kind, array in arrays.items():
            np.testing.assert_array_equal(array, net.params[layer][kind])
    assert start.preprocessing is net.preprocessing
    assert start.text == (
        "from runs/a: took conv1, conv2, conv3, fc4, fc5 and the preprocessing; new: none"
    )


@pytest.mark.parametrize("names", [("cat", "dog", "owl"), ("cat", "dog", "fish", "owl")])
def test_of_other_classes_the_last_layer_is_new(names):
    start = start_from(other_net(), "runs/a", TINY, names)
    assert list(start.params) == LAYERS[:-1]
    assert start.text.endswith(f"; new: fc5 (fc5 for {len(names)} classes)")


def test_at_another_input_size_the_convolutions_are_taken_and_the_mean_colour():
    net = other_net()
    arch = TINY.at(48)
    start = start_from(net, "runs/a", arch, NAMES)
    assert list(start.params) == ["conv1", "conv2", "conv3", "fc5"]
    assert start.preprocessing is not None
    assert start.preprocessing.frame == frame_size(48)
    assert (start.preprocessing.scale, start.preprocessing.channels) == (0.02, "bgr")
    expected = net.preprocessing.mean.mean(axis=(0, 1), keepdims=True)
    np.testing.assert_allclose(start.preprocessing.mean, expected, rtol=1e-6)


def test_without_the_first_layer_the_preprocessing_is_the_run_s_own():
    start = start_from(other_net(), "runs/a", TINY.edit("conv1", size=3), ("cat", "dog"))
    assert "conv1" not in start.params
    assert start.preprocessing is None
    assert "preprocessing" not in start.text


def test_a_net_of_which_nothing_fits_is_refused_with_both_shapes():
    params = {name: layer for name, layer in other_net().params.items() if name == "fc5"}
    net = replace(other_net(), params=params)
    with pytest.raises(ValueError, match=r"init_from runs/a: no layer .*\(its fc5 \(16, 3\), here"):
        start_from(net, "runs/a", TINY, ("cat", "dog"))
