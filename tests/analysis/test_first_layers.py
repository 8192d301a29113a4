"""The numbers of Fig 6 by hand, against a fine FFT, and on sinusoids; its picture and table."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, TINY, random_params
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.analysis import first_layers
from zfnet_jax.analysis.first_layers import (
    DEAD,
    convolutions,
    firing,
    measure_filters,
    measure_first_layers,
    share_below,
    spectra,
)
from zfnet_jax.config import OptimizerConfig, TrainConfig
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.data.source import Example
from zfnet_jax.features import mining
from zfnet_jax.networks.net import Net
from zfnet_jax.report import first_layers as report

IMAGES = 11  # no multiple of any batch


class Memory:
    """Pictures in memory, of one class."""

    class_names = ("all",)
    labels = np.zeros(IMAGES, np.int32)
    identity = "noise"

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> Example:
        pixels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        return Example(pixels, 0, f"{index}")


def make_net(**biases: float) -> Net:
    """The tiny net with random weights, the biases of some layers all of one value."""
    params = random_params(TINY, CLASSES)
    for name, bias in biases.items():
        params[name]["bias"] = jnp.full_like(params[name]["bias"], bias)
    frame = frame_size(TINY.input_size)
    mean = np.full((frame, frame, 3), 127.5, np.float32)
    config = TrainConfig(name="tiny", architecture=TINY)
    names = tuple(f"class {number}" for number in range(CLASSES))
    return Net(
        config.architecture,
        params,
        Preprocessing(frame, mean, 1 / 60),
        names,
        step=1,
        config=config,
    )


def frames_of(net: Net) -> ImageSet:
    return ImageSet.of(Memory(), net.preprocessing.frame, cache_gib=0)


def wave(size: int, rows: float, cols: float, channels: int = 3) -> np.ndarray:
    """One filter, a sinusoid of so many cycles per pixel down and across."""
    row, col = np.mgrid[:size, :size]
    plane = np.cos(2 * np.pi * (rows * row + cols * col) + 0.3)
    return np.repeat(plane[:, :, None, None], channels, axis=2)


def random_kernel(seed: int, size: int = 7, channels: int = 3, filters: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, size, channels, filters))


def test_contrast_and_rms_by_hand():
    kernel = np.zeros((2, 2, 1, 3))
    kernel[..., 0, 0] = [[3, -1], [0, 0]]
    kernel[..., 0, 1] = [[1, 1], [1, -1]]
    kernel[..., 0, 2] = [[2, 2], [2, 2]]
    found = measure_filters(kernel, stride=1)
    np.testing.assert_allclose(found.contrast, [1, 0.5, 0])  # the joint range is 4
    np.testing.assert_allclose(found.rms, [np.sqrt(10 / 4), 1, 2])


def test_a_filter_s_contrast_is_over_all_channels():
    kernel = np.zeros((3, 3, 3, 2))
    kernel[:, :, 0, 0], kernel[:, :, 2, 0] = 1, -1  # each channel is flat
    kernel[0, 0, 0, 1] = 1
    np.testing.assert_allclose(measure_filters(kernel, 1).contrast, [1, 0.5])


def test_dead_and_dominant():
    kernel = random_kernel(0, filters=9)
    kernel[..., 4] *= 20
    found = measure_filters(kernel, stride=2)
    assert np.flatnonzero(found.dominant).tolist() == [4]
    assert np.flatnonzero(~found.dead).tolist() == [4]
    even = measure_filters(np.delete(kernel, 4, axis=-1), stride=2)
    assert not even.dead.any()
    assert not even.dominant.any()


def test_the_limit_of_dead_is_30_of_255():
    kernel = np.zeros((1, 2, 1, 3))
    kernel[0, 0, 0] = [255, 30, 29.9]
    assert measure_filters(kernel, 1).dead.tolist() == [False, False, True]
    assert pytest.approx(30 / 255) == DEAD


def test_the_limit_of_dominant_is_three_times_the_median():
    kernel = np.ones((1, 1, 1, 4)) * [1, 1, 3, 3.1]
    median_two = measure_filters(kernel, 1)
    assert not median_two.dominant.any()
    assert measure_filters(kernel[..., [0, 1, 0, 2, 3]], 1).dominant.tolist() == [False] * 4 + [
        True
    ]


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**31), st.floats(0.01, 0.5))
def test_the_share_below_a_frequency_is_a_fine_fft_s(size, channels, seed, frequency):
    kernel = random_kernel(seed, size, channels, filters=2)
    samples = 512
    energy = spectra(kernel, samples)
    along = np.abs(np.arange(samples) - samples // 2) / samples
    inside = np.maximum.outer(along, along) <= frequency
    expected = energy[:, inside].sum(axis=1) / energy.sum(axis=(1, 2))
    # A row of samples more or less is what the sum cannot tell.
    finest = 8 * energy.max(axis=(1, 2)) / samples / energy.mean(axis=(1, 2))
    assert (np.abs(share_below(kernel, frequency) - expected) <= finest).all()
    np.testing.assert_allclose(share_below(kernel, 0.5), 1)


@pytest.mark.parametrize(
    ("rows", "cols", "band"),
    [
        (0.0, 0.0, "low"),
        (0.05, 0.0, "low"),
        (0.0, 0.06, "low"),
        (0.05, 0.06, "low"),
        (0.19, 0.0, "middle"),
        (0.0, 0.19, "middle"),
        (0.18, -0.19, "middle"),
        (0.02, 0.19, "middle"),
        (0.0, 0.35, "high"),
        (0.4, 0.1, "high"),
        (0.5, -0.5, "high"),
    ],
)
def test_a_sinusoid_s_energy_is_in_its_band(rows, cols, band):
    found = measure_filters(wave(64, rows, cols), stride=4)
    assert getattr(found, band)[0] > 0.95
    small = measure_filters(wave(11, rows, cols), stride=4)
    assert band == max(("low", "middle", "high"), key=lambda each: getattr(small, each)[0])


def test_colours_count_each_by_its_own_frequency():
    kernel = np.concatenate([wave(64, 0.05, 0, 1), wave(64, 0, 0.4, 1)], axis=2)
    found = measure_filters(kernel, stride=1)
    np.testing.assert_allclose([found.low[0], found.high[0]], 0.5, atol=0.05)


@pytest.mark.parametrize(("size", "share"), [(7, 0.82), (11, 0.85)])
def test_a_flat_filter_is_blurred_as_the_module_says(size, share):
    assert measure_filters(np.ones((size, size, 3, 1)), 1).low[0] == pytest.approx(share, abs=0.005)
    assert str(share) in (first_layers.__doc__ or "")


def test_noise_has_the_shares_that_the_module_says():
    found = measure_filters(random_kernel(0, filters=4000), stride=2)
    shares = [found.low.mean(), found.middle.mean(), found.high.mean()]
    np.testing.assert_allclose(shares, [1 / 16, 3 / 16, 12 / 16], atol=0.003)


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_shares_are_of_the_whole_and_know_no_scale(seed, scale):
    kernel = random_kernel(seed)
    found = measure_filters(kernel, stride=4)
    np.testing.assert_allclose(found.low + found.middle + found.high, 1)
    assert all((values >= 0).all() for values in found)
    scaled = measure_filters(kernel * scale, stride=4)
    np.testing.assert_allclose(scaled.rms, found.rms * scale)
    for one, other in zip(scaled._replace(rms=0), found._replace(rms=0), strict=True):
        np.testing.assert_allclose(one, other)


def test_what_a_stride_folds():
    kernel = random_kernel(0)
    fine, two, four = (measure_filters(kernel, stride) for stride in (1, 2, 4))
    np.testing.assert_allclose(fine.folded, 0, atol=1e-12)
    np.testing.assert_allclose(two.folded, two.high)
    np.testing.assert_allclose(four.folded, four.middle + four.high)


def test_filters_of_zeros():
    kernel = random_kernel(0)
    kernel[..., 1] = 0
    found = measure_filters(kernel, stride=2)
    assert found.dead[1]
    assert [float(values[1]) for values in found] == [0] * 6
    nothing = measure_filters(np.zeros((7, 7, 3, 4)), stride=2)
    assert nothing.dead.all()
    assert not nothing.dominant.any()


def test_spectra():
    kernel = random_kernel(0)
    energy = spectra(kernel, 32)
    np.testing.assert_allclose(energy.mean(axis=(1, 2)), np.sum(kernel**2, axis=(0, 1, 2)))
    np.testing.assert_allclose(energy[:, 16, 16], np.sum(kernel.sum((0, 1)) ** 2, axis=0))
    peak = np.unravel_index(spectra(wave(32, 0.25, 0.125), 32)[0].argmax(), (32, 32))
    assert peak in ((16 + 8, 16 + 4), (16 - 8, 16 - 4))


def test_firing_is_of_any_function():
    maps = np.zeros((8, 2, 2, 3), np.float32)
    maps[1, 0, 1, 1] = 0.5
    maps[:6, 1, 1, 2] = 2.0
    function = lambda pictures: (None, {"spatial": pictures, "dense": pictures[:, 1, 1] - 2})
    batch = (maps, np.arange(8), np.zeros(8))
    shares = firing(mining.mine(function, [batch], ["spatial", "dense"]))
    assert shares["spatial"].tolist() == [0, 1 / 8, 6 / 8]
    assert shares["dense"].tolist() == [0, 0, 0]  # 0 is not above 0


def test_look_draws_living_maps_by_the_seed():
    net = make_net()
    frames = frames_of(net)
    found, again, other = (
        measure_first_layers(net, frames, map_count=3, k=2, seed=seed) for seed in (0, 0, 1)
    )
    assert (found.first.name, found.second, found.images) == ("conv1", "conv2", IMAGES)
    assert list(found.firing) == ["conv1", "conv2", "conv3"]
    assert found.projections.shape == (3, 2, *[TINY.receptive_field("conv2").size] * 2, 3)
    assert found.projections.any()
    assert (found.firing["conv2"][found.top_units.map_numbers] > 0).all()
    np.testing.assert_array_equal(found.top_units.map_numbers, again.top_units.map_numbers)
    assert found.top_units.map_numbers.tolist() != other.top_units.map_numbers.tolist()


def test_a_dead_layer_is_shown_as_dead():
    net = make_net(conv2=-1e6)
    found = measure_first_layers(net, frames_of(net), map_count=3, k=2)
    assert not found.firing["conv2"].any()
    assert found.top_units.map_numbers.tolist() == [0, 1, 2]
    assert not found.projections.any()
    assert report.facts(found)["never fire, conv2"] == "8 of 8"
    assert report.describe(found)["second_layer"]["images"] == [[], [], []]
    report.first_layers_picture(["dead"], [found])


@pytest.mark.parametrize(("gone", "names"), [(("conv2", "conv3"), "conv1"), ((), None)])
def test_a_net_of_one_convolution_is_refused(gone, names):
    arch = TINY.without(*gone)
    if names is None:
        assert [layer.name for layer in convolutions(arch)] == ["conv1", "conv2", "conv3"]
    else:
        with pytest.raises(ValueError, match=f"^convolutions {names}: expected a net with two"):
            convolutions(arch)


def test_dead_and_dominant_filters_are_framed_and_counted():
    net = make_net()
    net.params["conv1"]["kernel"] = net.params["conv1"]["kernel"].at[..., 2].multiply(100)
    uncapped = replace(net.config, optimizer=OptimizerConfig(filter_cap=0.0))
    found = [
        measure_first_layers(each, frames_of(net), map_count=2, k=2)
        for each in (net, replace(net, config=uncapped))
    ]
    sheets = [
        report.first_layers_picture(["one"], found[:1]),
        report.first_layers_picture(["a", "b"], found),
    ]
    counts = [
        [
            int((sheet == colour).all(axis=-1).sum())
            for colour in (report.DEAD_FRAME, report.DOMINANT_FRAME)
        ]
        for sheet in sheets
    ]
    dead, dominant = counts[0]
    assert dead == 5 * dominant > 0  # of six filters
    assert counts[1] == [2 * dead, 2 * dominant]
    facts = report.facts(found[0])
    assert facts["dead (contrast under 30/255)"] == "5 of 6"
    assert facts["dominant (RMS over 3x median)"] == "1 of 6"
    assert facts["filter cap of the first layer"] == "0.1"
    assert report.facts(found[1])["filter cap of the first layer"] == "none"
    own = replace(net.config, optimizer=OptimizerConfig(first_layer_cap=0.004))
    capped = replace(found[0], net=replace(net, config=own))
    assert report.facts(capped)["filter cap of the first layer"] == "0.004"
    assert report.describe(capped)["first_layer"]["filter_cap"] == 0.004


def test_the_table_of_nets_of_different_layers():
    net = make_net()
    found = measure_first_layers(net, frames_of(net), map_count=2, k=2)
    shallow = replace(found, firing={"conv1": found.firing["conv1"]})
    lines = report.facts_table(["deep", "shallow"], [found, shallow]).splitlines()
    assert lines[0].split() == ["deep", "shallow"]
    assert lines[-1].split() == ["never", "fire,", "conv3", *lines[-1].split()[3:6], "-"]
    start = lines[0].index("shallow")
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines)
