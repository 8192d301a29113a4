from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case, random_params

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.features import controls
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture, Conv, Dense
from zfnet_jax.zfnet.units import Units

WANTED = {
    "conv2": Units(*np.array([[0, 2, 1], [1, 0, 3], [2, 2, 0], [7, 0, 3]]), np.float32([3, 1, 2]))
}


@pytest.fixture
def net(tiny: Case) -> Net:
    mean = np.zeros((1, 1, 3), np.float32)
    config = TrainConfig(architecture=TINY)
    names = tuple(map(str, range(CLASSES)))
    return Net(config.architecture, tiny.params, Preprocessing(37, mean), names, 0, config=config)


def test_random_weights_are_another_net_of_the_same_kind(net: Net):
    """This one reads pixels of standard deviation 1, as torchvision's nets do."""
    preprocessing = replace(net.preprocessing, scale=(1 / 60, 1 / 58, 1 / 62))
    net = replace(net, preprocessing=preprocessing)
    random = controls.net_of("random-weights", net, seed=0)
    shapes = lambda net: jax.tree.map(np.shape, net.params)
    assert shapes(random) == shapes(net)
    for name in net.params:
        kernel, other = net.params[name]["kernel"], random.params[name]["kernel"]
        assert abs(np.corrcoef(np.ravel(kernel), np.ravel(other))[0, 1]) < 0.2
    first = random.params["conv1"]["kernel"]
    np.testing.assert_allclose(np.std(first), (2 / first[..., 0].size) ** 0.5, rtol=0.1)
    again = controls.net_of("random-weights", net, seed=0)
    jax.tree.map(np.testing.assert_array_equal, again.params, random.params)


def test_random_weights_are_drawn_for_the_net_s_own_pixels():
    arch = Architecture("two", (Conv("conv1", 2, 1), Dense("fc2", None, relu=False)), 2)
    params = random_params(arch, CLASSES)
    kernels = []
    for scale in (1.0, (0.02, -0.02, 0.02)):
        preprocessing = Preprocessing(3, np.zeros((1, 1, 3), np.float32), scale)
        net = Net(arch, params, preprocessing, tuple(map(str, range(CLASSES))))
        kernels.append(controls.net_of("random-weights", net, 0).params["conv1"]["kernel"])
    np.testing.assert_allclose(kernels[1], kernels[0] * 50, rtol=1e-5)


@pytest.mark.parametrize("control", ["shuffled-switches", "wrong-unit"])
def test_the_other_controls_keep_the_weights(net: Net, control):
    assert controls.net_of(control, net, seed=0) is net


def test_a_wrong_unit_is_in_the_same_place_of_another_map():
    changed = controls.units_of("wrong-unit", WANTED, {"conv2": 8}, seed=1)["conv2"]
    for field in ("image", "row", "col"):
        np.testing.assert_array_equal(getattr(changed, field), getattr(WANTED["conv2"], field))
    assert np.all(changed.map != WANTED["conv2"].map)
    np.testing.assert_array_equal(changed.value, np.ones(3))


def test_every_map_is_the_wrong_one_of_one_other():
    every = {"conv2": Units(*np.zeros((3, 8), int), np.arange(8), np.ones(8))}
    wrong = controls.units_of("wrong-unit", every, {"conv2": 8}, seed=1)["conv2"].map
    assert sorted(wrong) == list(range(8))
    assert np.all(wrong != np.arange(8))


@pytest.mark.parametrize("control", ["shuffled-switches", "random-weights"])
def test_the_other_controls_keep_the_units(control):
    changed = controls.units_of(control, WANTED, {"conv2": 8}, seed=1)["conv2"]
    np.testing.assert_array_equal(changed.map, WANTED["conv2"].map)


def test_shuffled_switches_are_each_map_s_own_in_other_places(tiny: Case):
    alter = controls.trace_of("shuffled-switches", seed=0)
    assert alter is not None
    shuffled = alter(tiny.trace)
    assert shuffled.activations is tiny.trace.activations
    for name, switches in tiny.trace.switches.items():
        flat = lambda x: np.asarray(x).reshape(len(x), -1, x.shape[-1])
        before, after = flat(switches), flat(shuffled.switches[name])
        np.testing.assert_array_equal(np.sort(before, axis=1), np.sort(after, axis=1))
        assert (before != after).mean() > 0.5


@pytest.mark.parametrize("control", ["random-weights", "wrong-unit"])
def test_the_other_controls_keep_the_switches(control):
    assert controls.trace_of(control, seed=0) is None
