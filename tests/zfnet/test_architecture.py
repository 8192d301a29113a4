import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import (
    ALEXNET,
    ZFNET,
    ZFNET_128,
    ZFNET_SMALL,
    ZFNET_WIDE,
    Architecture,
    ContrastNorm,
    Conv,
    Dense,
    MaxPool,
    output_size,
    pads,
)
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Params

# Three paddings that give the paper's sizes: cuda-convnet's rule, Caffe's, PyTorch's.
CAFFE = ZFNET.edit("conv1", padding=1, rounding="down").edit("conv2", rounding="down")
PYTORCH = (
    CAFFE.edit("pool1", padding=1, rounding="down")
    .edit("pool2", padding=1, rounding="down")
    .edit("pool5", rounding="down")
)

HEAD = {"fc6": (4096,), "fc7": (4096,), "fc8": (1000,)}
ZFNET_SHAPES = {
    "conv1": (110, 110, 96),
    "pool1": (55, 55, 96),
    "norm1": (55, 55, 96),
    "conv2": (26, 26, 256),
    "pool2": (13, 13, 256),
    "norm2": (13, 13, 256),
    "conv3": (13, 13, 384),
    "conv4": (13, 13, 384),
    "conv5": (13, 13, 256),
    "pool5": (6, 6, 256),
    **HEAD,
}
WIDE_SHAPES = ZFNET_SHAPES | {
    "conv3": (13, 13, 512),
    "conv4": (13, 13, 1024),
    "conv5": (13, 13, 512),
    "pool5": (6, 6, 512),
}
ALEXNET_SHAPES = ZFNET_SHAPES | {
    "conv1": (55, 55, 96),
    "norm1": (55, 55, 96),
    "pool1": (27, 27, 96),
    "conv2": (27, 27, 256),
    "norm2": (27, 27, 256),
}


@pytest.mark.parametrize(
    ("arch", "shapes"),
    [
        (ZFNET, ZFNET_SHAPES),
        (CAFFE, ZFNET_SHAPES),
        (PYTORCH, ZFNET_SHAPES),
        (ZFNET_WIDE, WIDE_SHAPES),
        (ALEXNET, ALEXNET_SHAPES),
    ],
    ids=["zfnet", "caffe", "pytorch", "wide", "alexnet"],
)
def test_the_paper_s_sizes(arch, shapes):
    assert arch.shapes() == shapes
    assert arch.input_size == 224


def test_layers_come_in_each_paper_s_order():
    block = ("conv1", "pool1", "norm1", "conv2", "pool2", "norm2")
    assert tuple(ZFNET.shapes())[:6] == block
    block = ("conv1", "norm1", "pool1", "conv2", "norm2", "pool2")
    assert tuple(ALEXNET.shapes())[:6] == block


def test_explicit_pads_of_the_default_padding():
    assert pads(ZFNET["conv1"], 224, 224) == ((0, 1), (0, 1))
    assert pads(ZFNET["pool1"], 110, 110) == ((0, 1), (0, 1))
    assert pads(ZFNET["conv2"], 55, 55) == ((0, 0), (0, 0))
    assert pads(ZFNET["pool2"], 26, 26) == ((0, 1), (0, 1))
    assert pads(ZFNET["conv3"], 13, 13) == ((1, 1), (1, 1))
    assert pads(ZFNET["pool5"], 13, 13) == ((0, 0), (0, 0))
    assert pads(ALEXNET["conv1"], 224, 224) == ((0, 3), (0, 3))


@pytest.mark.parametrize(
    ("size", "layer", "expected"),
    [
        (5, MaxPool("pool", size=3, stride=2), 2),
        (6, MaxPool("pool", size=3, stride=2), 3),
        (6, MaxPool("pool", size=3, stride=2, rounding="down"), 2),
        (6, MaxPool("pool", size=3, stride=2, padding=1, rounding="down"), 3),
        (2, MaxPool("pool", size=3, stride=2), 0),
        (3, MaxPool("pool", size=2, stride=3), 1),  # The second would begin past the map.
        (4, MaxPool("pool", size=2, stride=3), 2),
        (5, MaxPool("pool", size=3, stride=3, padding=2), 3),  # At -2, 1 and 4.
        (4, MaxPool("pool", size=3, stride=3, padding=2), 2),  # The third would begin past it.
    ],
)
def test_output_sizes_by_hand(size, layer, expected):
    assert output_size(layer, size) == expected


def test_pads_where_rounding_down_leaves_pixels_out():
    layer = Conv("conv", features=1, size=3, stride=2, rounding="down")
    assert pads(layer, 6, 7) == ((0, -1), (0, 0))


NO_3_4, NO_6_7 = ("conv3", "conv4"), ("fc6", "fc7")


@pytest.mark.parametrize(
    ("arch", "count"),
    [
        (ALEXNET, 62_378_344),
        (ALEXNET.without(*NO_3_4), 59_870_824),
        (ALEXNET.without("fc7"), 45_597_032),
        (ALEXNET.without(*NO_6_7), 12_964_200),
        (ALEXNET.without(*NO_3_4, *NO_6_7), 10_456_680),
        (ALEXNET.with_features(fc6=2048, fc7=2048), 28_868_968),
        (ALEXNET.with_features(fc6=8192, fc7=8192), 154_562_920),
        (ZFNET, 62_357_608),
        (ZFNET.with_features(fc6=2048, fc7=2048), 28_848_232),
        (ZFNET.with_features(fc6=8192, fc7=8192), 154_542_184),
        (ZFNET.with_features(conv3=512, conv4=1024, conv5=512), 107_627_624),
        (
            ZFNET.with_features(conv3=512, conv4=1024, conv5=512, fc6=8192, fc7=8192),
            237_560_936,
        ),
        (ZFNET_WIDE, 107_627_624),
    ],
)
def test_parameter_counts_of_table_3(arch, count):
    assert arch.parameter_count(num_classes=1000) == count


def test_the_number_of_classes_counts_in_the_last_layer_alone():
    assert ZFNET.parameter_count(1000) - ZFNET.parameter_count(999) == 4096 + 1
    assert ZFNET.shapes(num_classes=7)["fc8"] == (7,)
    assert ZFNET.kernel_shapes(num_classes=7)["fc8"] == (4096, 7)


def test_kernel_and_input_shapes():
    assert ZFNET.kernel_shapes() == {
        "conv1": (7, 7, 3, 96),
        "conv2": (5, 5, 96, 256),
        "conv3": (3, 3, 256, 384),
        "conv4": (3, 3, 384, 384),
        "conv5": (3, 3, 384, 256),
        "fc6": (6 * 6 * 256, 4096),
        "fc7": (4096, 4096),
        "fc8": (4096, 1000),
    }
    inputs = ZFNET.input_shapes()
    assert inputs["conv1"] == (224, 224, 3)
    assert inputs["conv2"] == (55, 55, 96)
    assert inputs["fc6"] == (6, 6, 256)
    assert inputs["fc8"] == (4096,)


@pytest.mark.parametrize(
    ("arch", "fields"),
    [
        (
            ZFNET,
            {
                "conv1": (7, 2, 0),
                "pool1": (11, 4, 0),
                "norm1": (11, 4, 0),
                "conv2": (27, 8, 0),
                "pool2": (43, 16, 0),
                "norm2": (43, 16, 0),
                "conv3": (75, 16, -16),
                "conv4": (107, 16, -32),
                "conv5": (139, 16, -48),
                "pool5": (171, 32, -48),
            },
        ),
        (CAFFE, {"conv1": (7, 2, -1), "conv2": (27, 8, -1), "conv5": (139, 16, -49)}),
        (PYTORCH, {"pool1": (11, 4, -3), "pool2": (43, 16, -11), "pool5": (171, 32, -59)}),
        (
            ALEXNET,
            {
                "conv1": (11, 4, 0),
                "pool1": (19, 8, 0),
                "conv2": (51, 8, -16),
                "pool2": (67, 16, -16),
                "conv5": (163, 16, -64),
                "pool5": (195, 32, -64),
            },
        ),
        (ZFNET_SMALL, {"conv1": (5, 1, 0), "conv5": (39, 4, -12), "pool5": (47, 8, -12)}),
    ],
    ids=["zfnet", "caffe", "pytorch", "alexnet", "small"],
)
def test_receptive_fields(arch, fields):
    for name, field in fields.items():
        assert arch.receptive_field(name) == field, name


def test_boxes():
    field = ZFNET.receptive_field("conv5")
    assert field.box(0, 0) == (-48, -48, 139, 139)
    assert field.box(12, 3) == (-48 + 12 * 16, 0, 139, 139)


@pytest.mark.parametrize("name", ["fc6", "fc8"])
def test_dense_layers_have_no_receptive_field(name):
    with pytest.raises(ValueError, match=f"'{name}': expected a spatial layer"):
        ZFNET.receptive_field(name)


@st.composite
def spatial_nets(draw, roundings=("up", "down")) -> Architecture:
    """Up to four spatial layers whose windows leave no pixel between them out."""
    layers, convolutions = [], 0
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "pool", "norm"]))
        if kind == "norm":
            layers.append(ContrastNorm(f"norm{index}", size=3, alpha=0.0, k=1.0))
            continue
        size = draw(st.integers(1 if kind == "conv" else 2, 4))
        fields = {
            "size": size,
            "stride": draw(st.integers(1, min(size, 2))),
            "padding": draw(st.integers(0, size - 1)),
            "rounding": draw(st.sampled_from(roundings)),
        }
        convolutions += kind == "conv"
        layers.append(
            Conv(f"conv{index}", features=2, **fields)
            if kind == "conv"
            else MaxPool(f"pool{index}", **fields)
        )
    try:
        return Architecture("net", tuple(layers), draw(st.integers(5, 13)))
    except ValueError:  # The picture is too small for so many layers.
        assume(False)
        raise


Forward = Callable[[Architecture, Params, np.ndarray], dict[str, np.ndarray]]


def in_numpy(arch: Architecture, params: Params, images: np.ndarray) -> dict[str, np.ndarray]:
    return loops.forward(arch, params, images)[0]


def in_jax(arch: Architecture, params: Params, images: np.ndarray) -> dict[str, np.ndarray]:
    _, trace = jax.jit(ZFNet(arch, 1).apply)({"params": params}, jnp.asarray(images))
    return jax.tree.map(np.asarray, trace.activations)


def pixels_that_change(
    arch: Architecture, seed: int, forward: Forward = in_numpy, dtype: str = "float64"
) -> np.ndarray:
    """Which pixels change which unit of the last layer: (rows, cols, size, size) bool.

    Filters and pictures are positive, so that a pixel made much brighter makes every unit brighter
    that can see it: neither a maximum elsewhere nor a ReLU hides it. They are whole numbers, so
    that sums are exact: a library may add up one picture of a batch in another order than the next.
    """
    rng, size = np.random.default_rng(seed), arch.input_size
    params = {
        name: {
            "kernel": rng.integers(1, 3, shape).astype(dtype),
            "bias": np.zeros(shape[-1], dtype),
        }
        for name, shape in arch.kernel_shapes().items()
    }
    picture = rng.integers(1, 3, (size, size, 3)).astype(dtype)
    pictures = np.repeat(picture[None], size * size + 1, axis=0)
    rows, cols = np.divmod(np.arange(size * size), size)
    pictures[np.arange(size * size), rows, cols] += 1000
    outputs = forward(arch, params, pictures)[arch.layers[-1].name]
    changed = (outputs[:-1] != outputs[-1]).any(axis=-1)
    return np.moveaxis(changed.reshape(size, size, *changed.shape[1:]), (0, 1), (2, 3))


def box_pixels(arch: Architecture, row: int, col: int) -> np.ndarray:
    top, left, height, width = arch.receptive_field(arch.layers[-1].name).box(row, col)
    seen = np.zeros((arch.input_size, arch.input_size), bool)
    seen[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = True
    return seen


@settings(max_examples=100)
@given(arch=spatial_nets(roundings=("up",)), seed=st.integers(0, 99))
def test_the_box_is_exactly_the_pixels_that_can_change_a_unit(arch, seed):
    changed = pixels_that_change(arch, seed)
    for row, col in np.ndindex(changed.shape[:2]):
        np.testing.assert_array_equal(changed[row, col], box_pixels(arch, row, col))


@settings(max_examples=100)
@given(arch=spatial_nets(), seed=st.integers(0, 99))
def test_no_pixel_outside_the_box_changes_a_unit(arch, seed):
    # Rounding down may leave pixels at the far edge that a box reaches and no window reads.
    changed = pixels_that_change(arch, seed)
    for row, col in np.ndindex(changed.shape[:2]):
        assert not (changed[row, col] & ~box_pixels(arch, row, col)).any()


def test_the_model_sees_what_the_boxes_say():
    arch = Architecture(
        "net",
        (
            Conv("conv1", features=2, size=4, stride=2),
            MaxPool("pool1", padding=1),
            ContrastNorm("norm1", alpha=0.0, k=1.0),  # whole numbers stay whole
            Conv("conv2", features=2, size=3, padding=1),
        ),
        input_size=23,
    )
    changed = pixels_that_change(arch, 0, in_jax, "float32")
    for row, col in np.ndindex(changed.shape[:2]):
        np.testing.assert_array_equal(changed[row, col], box_pixels(arch, row, col))


@given(arch=spatial_nets())
def test_pads_make_the_windows_fit_exactly(arch):
    for layer in arch:
        if isinstance(layer, ContrastNorm):
            continue
        size, out = arch.input_shapes()[layer.name][0], arch.shapes()[layer.name][0]
        (before, after), cols = pads(layer, size, size)
        assert cols == (before, after)
        assert before == layer.padding
        assert before + size + after == (out - 1) * layer.stride + layer.size
        assert (out - 1) * layer.stride - layer.padding < size  # The last window sees a pixel.
        if layer.rounding == "up":
            assert after >= 0 or layer.padding  # All pixels are read.


def test_the_small_net():
    assert ZFNET_SMALL.input_size == 64
    assert ZFNET_SMALL.shapes(10) == {
        "conv1": (60, 60, 32),
        "pool1": (30, 30, 32),
        "norm1": (30, 30, 32),
        "conv2": (28, 28, 64),
        "pool2": (14, 14, 64),
        "norm2": (14, 14, 64),
        "conv3": (14, 14, 96),
        "conv4": (14, 14, 96),
        "conv5": (14, 14, 64),
        "pool5": (7, 7, 64),
        "fc6": (256,),
        "fc7": (256,),
        "fc8": (10,),
    }
    assert ZFNET_SMALL.parameter_count(10) == sum(
        (
            5 * 5 * 3 * 32 + 32,
            3 * 3 * 32 * 64 + 64,
            3 * 3 * 64 * 96 + 96,
            3 * 3 * 96 * 96 + 96,
            3 * 3 * 96 * 64 + 64,
            7 * 7 * 64 * 256 + 256,
            256 * 256 + 256,
            256 * 10 + 10,
        )
    )


def test_another_input_size_changes_nothing_but_sizes():
    small = ZFNET.at(128)
    assert small.layers == ZFNET.layers
    assert small.input_size == 128
    assert [small.shapes()[name][0] for name in ("conv1", "conv2", "conv5", "pool5")] == [
        62,  # ceil((128 - 7) / 2) + 1
        14,  # 31 after the pool, then (31 - 5) / 2 + 1
        7,
        3,
    ]
    assert small.receptive_field("conv5") == ZFNET.receptive_field("conv5")


def test_edit_changes_one_layer_of_a_copy():
    edited = ZFNET.edit("conv2", stride=1, padding=2)
    assert edited["conv2"] == dataclasses.replace(ZFNET["conv2"], stride=1, padding=2)
    assert [a.name for a, b in zip(edited, ZFNET, strict=True) if a != b] == ["conv2"]
    assert ZFNET["conv2"].stride == 2


def test_without_keeps_the_order_of_the_rest():
    names = [layer.name for layer in ZFNET.without("fc7", "conv3", "conv4")]
    assert names == [
        "conv1", "pool1", "norm1", "conv2", "pool2", "norm2", "conv5", "pool5", "fc6", "fc8",
    ]  # fmt: skip


def test_layers_by_name_and_in_order():
    assert ZFNET["conv1"] is ZFNET.layers[0] is next(iter(ZFNET))
    assert ZFNET.index("fc8") == len(ZFNET.layers) - 1
    assert ZFNET.is_spatial("norm2")
    assert not ZFNET.is_spatial("fc6")


@pytest.mark.parametrize("name", ["zfnet", "zfnet_wide", "alexnet", "zfnet_small"])
def test_get(name):
    arch = architecture.get(name)
    assert arch is architecture.REGISTRY[name]
    assert arch.name == name
    assert architecture.get(f"{name}@128") == arch.at(128)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg", r"'vgg': expected one of zfnet, zfnet_wide, alexnet, zfnet_small"),
        ("", r"'': expected one of"),
        ("zfnet@", r"'zfnet@': expected NAME or NAME@SIZE"),
        ("zfnet@big", r"'zfnet@big': expected NAME or NAME@SIZE"),
        ("zfnet@-1", r"'zfnet@-1': expected NAME or NAME@SIZE"),
        ("zfnet@12.5", r"'zfnet@12.5': expected NAME or NAME@SIZE"),
        ("zfnet@64@64", r"'zfnet@64@64': expected NAME or NAME@SIZE"),
        ("zfnet@20", r"input size 20: expected a picture large enough for 'conv2'"),
        ("zfnet@0", r"input size 0: expected a picture large enough for 'conv1'"),
    ],
)
def test_get_refuses(name, message):
    with pytest.raises(ValueError, match=message):
        architecture.get(name)


@st.composite
def nets(draw) -> Architecture:
    """Any net that can be built, up to its numbers."""
    spatial = draw(spatial_nets())
    dense = tuple(
        Dense(
            f"fc{index}",
            features=draw(st.none() | st.integers(1, 9)),
            relu=draw(st.booleans()),
            dropout=draw(st.floats(0, 1, exclude_max=True)),
        )
        for index in range(draw(st.integers(0, 3)))
    )
    norm = ContrastNorm("norm", size=draw(st.sampled_from([1, 3, 5])), alpha=draw(st.floats(0, 1)))
    name = draw(st.text(max_size=5))
    return Architecture(name, (*spatial.layers, norm, *dense), spatial.input_size)


@given(arch=nets())
def test_json_and_back(arch):
    text = json.dumps(architecture.to_json(arch))
    assert architecture.from_json(json.loads(text)) == arch


@pytest.mark.parametrize("arch", architecture.REGISTRY.values(), ids=lambda arch: arch.name)
def test_json_and_back_of_the_named_ones(arch):
    again = architecture.from_json(json.loads(json.dumps(architecture.to_json(arch))))
    assert again == arch
    assert hash(again) == hash(arch)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data.pop("name"),
        lambda data: data.pop("layers"),
        lambda data: data["layers"][0].pop("kind"),
        lambda data: data["layers"][0].pop("features"),
        lambda data: data["layers"][0].update(kind="Deconv"),
        lambda data: data["layers"][0].update(dilation=2),
        lambda data: data.update(layers=3),
        lambda data: data.update(input_size="224"),
    ],
)
def test_json_of_another_form_is_refused(break_it):
    data = architecture.to_json(ZFNET_SMALL)
    break_it(data)
    with pytest.raises(ValueError, match="expected what to_json writes"):
        architecture.from_json(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: ZFNET.edit("conv1", features=0), r"conv1\.features = 0: expected 1 or more"),
        (lambda: ZFNET.edit("conv1", size=0), r"conv1\.size = 0: expected 1 or more"),
        (lambda: ZFNET.edit("conv1", stride=0), r"conv1\.stride = 0: expected 1 or more"),
        (lambda: ZFNET.edit("conv1", padding=-1), r"conv1\.padding = -1: expected 0\.\.6"),
        (lambda: ZFNET.edit("conv1", padding=7), r"conv1\.padding = 7: expected 0\.\.6"),
        (
            lambda: ZFNET.edit("conv2", rounding="near"),
            r"conv2\.rounding = 'near': expected 'up' or 'down'",
        ),
        (lambda: ZFNET.edit("pool1", size=17), r"pool1\.size = 17: expected 16 at most"),
        (lambda: ZFNET.edit("pool1", stride=0), r"pool1\.stride = 0: expected 1 or more"),
        (lambda: ZFNET.edit("pool1", padding=3), r"pool1\.padding = 3: expected 0\.\.2"),
        (lambda: ZFNET.edit("norm1", size=4), r"norm1\.size = 4: expected an odd number"),
        (lambda: ZFNET.edit("norm1", size=-1), r"norm1\.size = -1: expected an odd number"),
        (lambda: ZFNET.edit("norm1", k=0.0), r"norm1\.k = 0\.0: expected a finite number above 0"),
        (lambda: ZFNET.edit("fc6", features=0), r"fc6\.features = 0: expected 1 or more, or None"),
        (lambda: ZFNET.edit("fc6", dropout=1.0), r"fc6\.dropout = 1\.0: expected 0 up to"),
        (lambda: ZFNET.edit("fc6", dropout=-0.1), r"fc6\.dropout = -0\.1: expected 0 up to"),
        (lambda: ZFNET.edit("conv9", stride=1), r"'conv9': expected one of conv1, pool1"),
        (lambda: ZFNET.without("fc9"), r"'fc9': expected one of conv1, pool1"),
        (lambda: ZFNET.with_features(fc9=1), r"'fc9': expected one of conv1, pool1"),
        (lambda: ZFNET["fc9"], r"'fc9': expected one of conv1, pool1"),
        (lambda: ZFNET.receptive_field("fc9"), r"'fc9': expected one of conv1, pool1"),
        (lambda: Architecture("none", (), 224), "'none': expected at least one layer"),
        (
            lambda: Architecture("twice", (ZFNET["conv1"], ZFNET["conv1"]), 224),
            r"\['conv1', 'conv1'\]: expected every name once",
        ),
        (
            lambda: Architecture("mixed", (ZFNET["fc6"], ZFNET["conv1"]), 224),
            "'conv1': expected maps below it, not a dense layer",
        ),
        (lambda: ZFNET.at(6), "input size 6: expected a picture large enough for 'conv1'"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change()


def test_nothing_but_the_standard_library_is_needed(tmp_path):
    heavy = ("jax", "numpy", "flax")
    code = (
        "import sys, zfnet_jax.zfnet.architecture; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)
    assert printed == "[]\n"


def test_zfnet_128_sees_as_much_of_its_picture_as_the_paper_s():
    assert ZFNET_128.shapes()["conv5"] == (13, 13, 192)
    field = ZFNET_128.receptive_field("conv5")
    assert field == (83, 8, -24)
    assert abs(field.size / 128 - 139 / 224) < 0.03
