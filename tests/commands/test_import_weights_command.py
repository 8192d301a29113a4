import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from command_runs import files_below
from foreign import SIZE, family, grouped, run_layers, state_dict
from PIL import Image
from safetensors.numpy import save_file

from zfnet_jax.commands import command_line, deconv
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.networks import weights
from zfnet_jax.networks.importers import onnx as importer
from zfnet_jax.networks.importers.assembly import CAFFE, TORCH, make_net
from zfnet_jax.training import checkpoint
from zfnet_jax.zfnet.model import forward

NAMES = ("cat", "été", "猫", "a b", "<i>")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    onnx.save(grouped().model(), path)
    return path


@pytest.fixture(scope="module")
def net_file(main, model_file):
    """The small net, imported by the command."""
    names = model_file.with_name("names.txt")
    names.write_text("\n".join(NAMES) + "\n", "utf-8")
    out = model_file.with_name("small.safetensors")
    run(main, "--from", "onnx", model_file, "--out", out, "--class-names", names, "--frame", 40)
    return out


def run(command, *options) -> None:
    command_line.run(command, list(map(str, options)))


def refusal(command, capsys, *options) -> str:
    """What a command says on stderr, in one line, of options that it refuses."""
    with pytest.raises(SystemExit) as stop:
        run(command, *options)
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    return err


def test_it_says_what_it_wrote(main, model_file, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    run(main, "--from", "onnx", model_file, "--out", out)
    assert capsys.readouterr().out.splitlines() == [
        "pictures: 38 px, bgr, mean [103.939, 116.779, 123.68], scale 1.0",
        f"wrote {out}: small, 7 layers, 2,071 parameters, 5 classes",
    ]


def test_what_is_written_is_a_net_that_sees_pictures_as_the_model_did(net_file, model_file):
    net = checkpoint.load(net_file)
    assert net.class_names == NAMES
    assert (net.architecture.name, net.architecture.input_size) == ("small", SIZE)
    preprocessing = net.preprocessing
    assert (preprocessing.frame, preprocessing.channels, preprocessing.scale) == (40, "bgr", 1.0)

    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    crops = frames[:, 3:36, 3:36]  # of 33, in the middle
    blue, green, red = (np.float32(crops[..., channel]) for channel in (2, 1, 0))
    seen = np.stack([blue - 103.939, green - 116.779, red - 123.68], axis=-1)
    images = centre_view(preprocessing.apply(jnp.asarray(frames)), SIZE)
    np.testing.assert_allclose(images, seen, atol=1e-4)
    logits, _ = forward(net.architecture, net.params, images)
    expected = [run_layers(onnx.load(model_file), picture[None])[-1][0] for picture in seen]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-3)


def test_a_command_shows_it_and_colours_are_right(net_file, tmp_path):
    """The one picture is red on its left: a filter that adds up red is to be drawn red."""
    picture = np.full((40, 40, 3), 128, np.uint8)
    picture[:, :20, 0] = 255
    Image.fromarray(picture).save(tmp_path / "red.png")
    net = checkpoint.load(net_file)
    kernel = np.zeros_like(net.params["conv1"]["kernel"])
    kernel[:, :, 2, 0] = 1.0  # the third channel of a net that reads BGR
    params = {**net.params, "conv1": {"kernel": kernel, "bias": np.zeros(8, np.float32)}}
    weights.write(replace(net, params=params), tmp_path / "net.safetensors", "float32")
    out = tmp_path / "out"
    run(
        deconv.main,
        *("--ckpt", tmp_path / "net.safetensors", "--layer", "conv1", "--count", 1),
        *("--images", tmp_path / "red.png", "--out", out),
    )
    with np.load(out / "conv1.npz") as arrays:
        projection = arrays["projections"][0, 0]
    assert projection[..., 0].min() > 0
    assert not projection[..., 1:].any()
    red, *others = np.asarray(Image.open(out / "filters.png"))[5, 5]
    assert red == 255
    assert all(value == 128 for value in others)


def test_a_state_dict_and_every_option(main, tmp_path, capsys):
    widths = {"conv1": 4, "conv2": 4, "conv3": 4, "conv4": 4, "conv5": 4, "fc6": 8, "fc7": 8}
    path, out = tmp_path / "weights.safetensors", tmp_path / "net.safetensors"
    tensors = state_dict("pytorchcv alexnet", classes=3, **widths)
    save_file({f"module.{name}": array for name, array in tensors.items()}, path)
    run(main, "--from", "torch", path, "--out", out)
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: left 'module.' out of the names of its tensors\n")
    assert re.search(r"pytorchcv alexnet, 13 layers, [\d,]+ parameters, 3 classes\n$", said)
    net = checkpoint.load(out)
    assert net.class_names == ("class 0", "class 1", "class 2")
    arch = family("pytorchcv alexnet").architecture.with_features(**widths)
    assert net.architecture == arch
    preprocessing = net.preprocessing
    assert (preprocessing.frame, preprocessing.channels, preprocessing.scale) == (
        256,
        "rgb",
        TORCH.scale,
    )
    grey = preprocessing.apply(jnp.full((1, 256, 256, 3), 0.5 * 255))
    np.testing.assert_allclose(
        grey[0, 0, 0], (0.5 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-4
    )

    options = ("--mean", 1, 2, 3, "--scale", 0.5, "--channels", "bgr", "--frame", 230)
    run(main, "--from", "torch", path, "--out", out, *options, "--dtype", "bfloat16")
    preprocessing = checkpoint.load(out).preprocessing
    assert (preprocessing.frame, preprocessing.channels, preprocessing.scale) == (230, "bgr", 0.5)
    assert preprocessing.mean.tolist() == [[[1, 2, 3]]]
    assert b'"conv1/kernel":{"dtype":"BF16"' in out.read_bytes()[:9999]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "onnx", "none.onnx"), "model none.onnx: expected a file, there is none"),
        (("--from", "torch", "text.pth"), "weights text.pth: expected what torch.save wrote"),
        (("--from", "onnx", "cut.onnx"), "model cut.onnx: expected"),
        (("--from", "onnx", "nan.onnx"), "tensor w1: expected finite values"),
        (("--from", "keras", "cut.onnx"), "onnx"),
        (("--from", "onnx", "good.onnx", "--class-names", "two.txt"), "2 class names: expected 5"),
        (("--from", "onnx", "good.onnx", "--frame", "20"), "frame 20: expected 33"),
        (
            ("--from", "onnx", "good.onnx", "--mean", "nan", "0", "0"),
            "mean (nan, 0.0, 0.0): expected finite",
        ),
        (("--from", "onnx", "net.safetensors"), "expected another file than the one imported"),
        (("--from", "onnx", "good.onnx", "--scale", "0"), "scale 0.0: expected a number"),
        (("--from", "onnx", "good.onnx", "--scale", "1", "2"), "one number or three"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    main, model_file, tmp_path, monkeypatch, capsys, arguments, said
):
    whole = model_file.read_bytes()
    (tmp_path / "good.onnx").write_bytes(whole)
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    chain = grouped()
    chain.arrays["w1"][0] = np.nan
    onnx.save(chain.model(), tmp_path / "nan.onnx")
    (tmp_path / "text.pth").write_text("A text.\nOf two lines.\n")
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    before = files_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert said in refusal(main, capsys, *arguments, "--out", "net.safetensors")
    assert files_below(tmp_path) == before


def test_the_frame_is_the_paper_s_share_and_names_are_numbers(model_file):
    net = make_net(importer.load(model_file), model_file)
    assert net.preprocessing.frame == round(SIZE * 256 / 224)
    assert tuple(net.preprocessing.mean.ravel()) == tuple(np.float32(CAFFE.mean))
    assert net.class_names[4] == "class 4"
    assert net.config is None
    assert net.name == "small"
