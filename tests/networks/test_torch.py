import numpy as np
import pytest
from foreign import (
    CLASSES,
    channels_last,
    expect_equal,
    pictures,
    refused,
    state_dict,
)
from safetensors.numpy import save_file

from zfnet_jax.networks.importers import torch as importer
from zfnet_jax.networks.importers.assembly import TORCH
from zfnet_jax.zfnet.architecture import ContrastNorm, Conv, Dense, MaxPool

NAMES = [each.architecture.name for each in importer.FAMILIES]
NARROW = {"fc6": 24, "fc7": 16}


@pytest.fixture
def saved(tmp_path):
    """A state dict as a .safetensors file."""

    def of(tensors):
        path = tmp_path / "net.safetensors"
        save_file(tensors, path)
        return path

    return of


def refusal(path):
    return refused(importer, path, "weights")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def torchvision(torch, widths, dense):
    """torchvision's alexnet: where its source has strides, paddings, pools and dropouts."""
    nn = torch.nn
    a, b, c, d, e = widths
    net = nn.Module()
    net.features = nn.Sequential(
        nn.Conv2d(3, a, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(a, b, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(b, c, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    net.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    net.classifier = nn.Sequential(
        nn.Dropout(),
        nn.Linear(e * 36, dense[0]),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(dense[0], dense[1]),
        nn.ReLU(),
        nn.Linear(dense[1], CLASSES),
    )
    return net, [net.features, net.avgpool, nn.Flatten(), net.classifier]


def pytorchcv(torch, widths, dense, sizes, strides, paddings, norms):
    """pytorchcv's nets of the AlexNet kind: three stages, each with a pool that rounds up."""
    nn = torch.nn
    net = nn.Module()
    net.features = nn.Sequential()
    order, below, places = [], 3, iter(zip(widths, sizes, strides, paddings, strict=True))
    for number, units in enumerate((1, 1, 3), start=1):
        stage = nn.Sequential()
        for unit in range(1, units + 1):
            width, size, stride, padding = next(places)
            block = nn.Module()
            block.conv = nn.Conv2d(below, width, size, stride=stride, padding=padding)
            stage.add_module(f"unit{unit}", block)
            order += [block.conv, nn.ReLU()]
            order += [nn.LocalResponseNorm(5, k=2.0)] if norms and number < 3 else []
            below = width
        net.features.add_module(f"stage{number}", stage)
        order.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    net.output = nn.Module()
    order.append(nn.Flatten())
    for number, (wide, width) in enumerate(zip((below * 36, *dense), dense, strict=False), start=1):
        block = nn.Module()
        block.fc = nn.Linear(wide, width)
        net.output.add_module(f"fc{number}", block)
        order += [block.fc, nn.ReLU()]
    net.output.fc3 = nn.Linear(dense[1], CLASSES)
    return net, [*order, net.output.fc3]


ZFNET = ((7, 5, 3, 3, 3), (2, 2, 1, 1, 1), (1, 0, 1, 1, 1), True)
SOURCES = {
    "torchvision alexnet": (torchvision, (64, 192, 384, 256, 256)),
    "pytorchcv zfnet": (pytorchcv, (96, 256, 384, 384, 256), *ZFNET),
    "pytorchcv zfnetb": (pytorchcv, (96, 256, 512, 1024, 512), *ZFNET),
    "pytorchcv alexnet": (
        pytorchcv,
        (96, 256, 384, 384, 256),
        (11, 5, 3, 3, 3),
        (4, 1, 1, 1, 1),
        (0, 2, 1, 1, 1),
        True,
    ),
    "pytorchcv alexnetb": (
        pytorchcv,
        (64, 192, 384, 256, 256),
        (11, 5, 3, 3, 3),
        (4, 1, 1, 1, 1),
        (2, 2, 1, 1, 1),
        False,
    ),
}


def layers_of(torch, order, images):
    """Every layer's output: what is behind a ReLU, a norm or a pool, and the logits."""
    nn = torch.nn
    flat = [each for part in order for each in (part if hasattr(part, "__len__") else [part])]
    x, outputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), []
    with torch.no_grad():
        for module in flat:
            x = module.eval()(x)
            if isinstance(module, nn.ReLU | nn.LocalResponseNorm | nn.MaxPool2d):
                outputs.append(channels_last(x.numpy()))
    return [*outputs, x.numpy()]


@pytest.mark.parametrize("name", NAMES)
def test_layer_by_layer_against_pytorch(torch, tmp_path, name):
    torch.manual_seed(0)
    build, widths, *others = SOURCES[name]
    net, order = build(torch, widths, tuple(NARROW.values()), *others)
    for parameter in net.parameters():  # PyTorch's own are so small that norms do nothing
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 200
        torch.nn.init.normal_(parameter, std=(2 / fan_in) ** 0.5)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    found = importer.load(tmp_path / "net.pth")
    assert found.architecture.name == name
    assert (found.convention, found.classes) == (TORCH, CLASSES)
    assert found.architecture.input_size == 224
    images = pictures(224, scale=30.0)
    expect_equal(found, images, layers_of(torch, order, images))


def test_both_files_of_one_state_dict_make_the_same_net(torch, tmp_path, saved):
    tensors = state_dict("pytorchcv zfnet", **NARROW)
    path = tmp_path / "net.pth"
    plain = {name: torch.from_numpy(array) for name, array in tensors.items()}
    expected = importer.load(saved(tensors))
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save(plain, path, **options)
        found = importer.load(path)
        assert found.architecture == expected.architecture
        for layer, kinds in expected.params.items():
            for kind, array in kinds.items():
                np.testing.assert_array_equal(found.params[layer][kind], array)


@pytest.mark.parametrize("name", NAMES)
def test_families_are_told_apart(saved, name):
    found = importer.load(saved(state_dict(name, **NARROW)))
    assert found.architecture.name == name
    kernels = {layer: each["kernel"].shape for layer, each in found.params.items()}
    assert kernels == found.architecture.kernel_shapes(CLASSES)


def test_widths_are_the_tensors_own(saved):
    arch = importer.load(
        saved(state_dict("pytorchcv zfnet", conv1=8, conv4=12, conv5=4, **NARROW))
    ).architecture
    assert arch["conv1"] == Conv("conv1", 8, size=7, stride=2, padding=1, rounding="down")
    assert arch["norm1"] == ContrastNorm("norm1", size=5, alpha=1e-4, beta=0.75, k=2.0)
    assert arch["pool1"] == MaxPool("pool1", size=3, stride=2, padding=0, rounding="up")
    assert arch["conv4"].features == 12
    assert arch["fc6"] == Dense("fc6", 24, dropout=0.5)


def test_kernels_are_transposed_and_rows_reordered(saved):
    tensors = state_dict("torchvision alexnet", conv1=4, conv2=4, conv5=5, **NARROW)
    params = importer.load(saved(tensors)).params
    kernel, theirs = params["conv2"]["kernel"], tensors["features.3.weight"]
    assert kernel[1, 3, 2, 0] == theirs[0, 2, 1, 3]
    dense, theirs = params["fc6"]["kernel"], tensors["classifier.1.weight"]
    row, col, channel = 2, 5, 3
    assert dense[(row * 6 + col) * 5 + channel, 7] == theirs[7, (channel * 6 + row) * 6 + col]
    assert params["fc8"]["kernel"][3, 1] == tensors["classifier.6.weight"][1, 3]


SMALL = {"conv1": 4, "conv2": 4, "conv3": 4, "conv4": 4, "conv5": 4, "fc6": 8, "fc7": 8}
"""Narrow layers, so that a test is quick."""


@pytest.mark.parametrize(
    ("renamed", "left_out"),
    [
        (lambda name: f"module.{name}", "module."),
        (lambda name: f"_orig_mod.{name}", "_orig_mod."),
        (lambda name: f"model.{name}", "model."),
        (lambda name: f"model.net.{name}", "model.net."),
        (lambda name: f"_orig_mod.module.model.{name}", "_orig_mod.module.model."),
        (lambda name: name.replace("features.", "features.module."), "module."),
    ],
)
def test_names_that_wrappers_made_longer(saved, renamed, left_out):
    tensors = state_dict("torchvision alexnet", **SMALL)
    plain = importer.load(saved(tensors))
    found = importer.load(saved({renamed(name): array for name, array in tensors.items()}))
    assert plain.note == ""
    assert found.note == f"left {left_out!r} out of the names of its tensors"
    assert found.architecture == plain.architecture
    np.testing.assert_array_equal(found.params["fc8"]["kernel"], plain.params["fc8"]["kernel"])


def test_names_that_differ_only_by_a_wrapper_s_are_refused(saved):
    tensors = {"a.weight": np.zeros(1, np.float32), "module.a.weight": np.zeros(1, np.float32)}
    assert "expected them to differ without module" in refusal(saved(tensors))


def test_batch_normalisation_is_refused_by_its_name(saved):
    tensors = state_dict("torchvision alexnet", **SMALL)
    norm = {f"features.1.{name}": np.ones(4, np.float32) for name in ("weight", "running_mean")}
    message = refusal(saved(tensors | norm))
    assert "which have no BatchNorm; found BatchNorm's features.1.running_mean" in message


@pytest.mark.parametrize("name", ["features.3.weight", "classifier.1.weight", "classifier.6.bias"])
def test_a_tensor_of_no_axes_is_refused(saved, name):
    tensors = state_dict("torchvision alexnet", **SMALL)
    assert name in refusal(saved(tensors | {name: np.ones((), np.float32)}))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floats_are_read_as_float32(saved, dtype):
    tensors = state_dict("torchvision alexnet", conv1=4, conv2=4, conv5=5, **NARROW)
    import ml_dtypes  # noqa: F401, so that NumPy knows bfloat16

    stored = {name: array.astype(dtype) for name, array in tensors.items()}
    kernel = importer.load(saved(stored)).params["fc8"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, np.float32(stored["classifier.6.weight"]).T)


def test_what_is_of_no_family_is_refused(saved):
    tensors = state_dict("pytorchcv zfnet", conv1=8, **NARROW)
    known = "torchvision alexnet, pytorchcv zfnetb, pytorchcv zfnet, "
    for edit in (
        {"layer1.0.weight": tensors["output.fc3.bias"]},
        {"features.stage1.unit1.conv.weight": np.zeros((8, 3, 5, 5), np.float32)},
    ):
        message = refusal(saved(tensors | edit))
        assert known in message
        assert f"found {len(tensors | edit)}: " in message


def test_tensors_that_do_not_fit_are_refused(saved):
    tensors = state_dict("pytorchcv zfnet", conv1=8, **NARROW)
    name = "features.stage2.unit1.conv.weight"
    message = refusal(saved(tensors | {name: tensors[name][:, 1:].copy()}))
    assert f"tensor {name} of shape (256, 7, 5, 5): expected (256, 8, 5, 5)" in message
    message = refusal(saved(tensors | {"output.fc3.bias": np.zeros(4, np.float32)}))
    assert "tensor output.fc3.bias of shape (4,): expected (5,)" in message


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_tensors_that_are_not_finite_are_refused(saved, value):
    tensors = state_dict("pytorchcv zfnet", conv1=8, **NARROW)
    tensors["output.fc2.fc.weight"][3, 5] = value
    assert "tensor output.fc2.fc.weight: expected finite values" in refusal(saved(tensors))


def test_integers_are_refused(saved):
    tensors = state_dict("pytorchcv zfnet", conv1=8, **NARROW)
    tensors["output.fc3.bias"] = np.zeros(CLASSES, np.int64)
    assert "tensor output.fc3.bias of int64: expected floats" in refusal(saved(tensors))


def test_a_safetensors_file_cut_short_is_refused(saved):
    path = saved(state_dict("pytorchcv zfnet", conv1=8, conv5=2, **NARROW))
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(path)


def test_whole_models_are_refused(torch, tmp_path):
    path = tmp_path / "net.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    assert "it is a torch.nn.modules.linear.Linear, which is not loaded" in refusal(path)
    torch.save(torch.zeros(2).to_sparse(), path)
    assert "it is a torch._utils._rebuild_sparse_tensor, which is not loaded" in refusal(path)


def test_no_file_is_refused(tmp_path):
    assert "expected a file, there is none" in refusal(tmp_path / "none.pth")
