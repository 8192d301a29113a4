import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, random_params
from safetensors import safe_open
from safetensors.flax import load_file, save_file

from zfnet_jax import config as configs
from zfnet_jax.config import TrainConfig
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.networks import net as nets
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint

NAMES = ("cat", "été", "猫", '<img src=x onerror="alert(1)">')


def make_net(
    mean: np.ndarray | None = None, scale: float | tuple[float, float, float] = 1.0
) -> Net:
    arch = TINY.with_features(conv1=2, conv2=2, conv3=2, fc4=3)
    frame = 37
    if mean is None:
        mean = np.random.default_rng(0).uniform(0, 255, (frame, frame, 3)).astype(np.float32)
    return Net(
        architecture=arch,
        config=TrainConfig(name="net", architecture=arch),
        params=random_params(arch, len(NAMES)),
        preprocessing=Preprocessing(frame, mean, scale, "bgr"),
        class_names=NAMES,
        step=17,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    weights.write(make_net(), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match="checkpoint ") as caught:
        weights.read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("scale", [0.25, (0.25, 0.5, 0.125)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_round_trip(tmp_path, dtype, scale):
    net, path = make_net(scale=scale), tmp_path / "net.safetensors"
    weights.write(net, path, dtype)
    assert [each.name for each in tmp_path.iterdir()] == ["net.safetensors"]
    for again in (weights.read(path), checkpoint.load(path)):
        assert again.config == net.config
        assert again.architecture == net.architecture
        assert (again.class_names, again.step) == (NAMES, 17)
        assert again.preprocessing.frame == 37
        assert (again.preprocessing.scale, again.preprocessing.channels) == (scale, "bgr")
        np.testing.assert_array_equal(again.preprocessing.mean, net.preprocessing.mean)
        assert again.params.keys() == net.params.keys()
        for name, layer in net.params.items():
            for kind, array in layer.items():
                read = again.params[name][kind]
                assert read.dtype == jnp.float32
                np.testing.assert_array_equal(read, array.astype(dtype).astype(jnp.float32))


def test_a_mean_of_one_pixel(tmp_path):
    net, path = make_net(np.float32([[[104, 117, 124]]])), tmp_path / "net.safetensors"
    weights.write(net, path)
    np.testing.assert_array_equal(weights.read(path).preprocessing.mean, net.preprocessing.mean)


def test_a_file_cut_short_is_refused(path):
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refusal(path)


def test_a_file_with_something_behind_it_is_refused(path):
    path.write_bytes(path.read_bytes() + b"\0")
    refusal(path)


@pytest.mark.parametrize("region", ["length", "header", "arrays"])
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(path, region):
    whole, description = path.read_bytes(), nets.to_json(weights.read(path))
    start = 8 + int.from_bytes(whole[:8], "little")
    places = {"length": range(8), "header": range(8, start), "arrays": range(start, len(whole))}
    draw = random.Random(0)
    for _ in range(80):
        place, bit = draw.choice(places[region]), draw.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            net = weights.read(path)  # such as 1e-4 that became 1E-4
            assert (region, nets.to_json(net)) == ("header", description)


def test_swapped_arrays_of_one_shape_are_noticed(path):
    whole = path.read_bytes()
    assert whole.count(b'"conv1/bias"') == whole.count(b'"conv2/bias"') == 1
    swapped = whole.replace(b'"conv1/bias"', b'"conv0/bias"')
    swapped = swapped.replace(b'"conv2/bias"', b'"conv1/bias"')
    path.write_bytes(swapped.replace(b'"conv0/bias"', b'"conv2/bias"'))
    assert "damaged, its contents do not match their digest" in refusal(path)


def test_another_program_s_file_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": jnp.ones(3)}, path, metadata)
        assert "expected a net that zfnet_jax wrote" in refusal(path)
    path.write_text("A text.\nOf two lines.\n")
    assert "damaged" in refusal(path)


def test_no_file_is_refused(tmp_path):
    assert "expected a file, there is none" in refusal(tmp_path / "none.safetensors")
    assert "expected a file, there is none" in refusal(tmp_path)


def test_arrays_of_another_architecture_are_refused(tmp_path):
    net = make_net()
    wider = Net(
        net.architecture.with_features(fc4=5),
        net.params,
        net.preprocessing,
        net.class_names,
        net.step,
    )
    weights.write(wider, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="expected the architecture's"):
        weights.read(tmp_path / "net.safetensors")


def rewritten(path: Path, edit) -> None:
    """Writes a file again after `edit` changed its tensors and description, digest and all."""
    tensors = load_file(path)
    with safe_open(path, "flax") as file:
        description = json.loads(file.metadata()["zfnet_jax"])["net"]
    edit(tensors, description)
    header = {"net": description, "sha256": weights._digest(tensors, description)}
    save_file(tensors, path, {"zfnet_jax": json.dumps(header)})


EDITS = {
    "array preprocessing/mean: expected one": lambda t, d: t.pop("preprocessing/mean"),
    "array conv2/kernel: expected": lambda t, d: t.pop("conv2/kernel"),
    "array conv2/bias: expected": lambda t, d: t.pop("conv2/bias"),
    "array conv2/bias of shape (9,): expected": lambda t, d: t.update({"conv2/bias": jnp.zeros(9)}),
    "array conv9/bias of shape (2,): expected": lambda t, d: t.update({"conv9/bias": jnp.zeros(2)}),
    "array conv1/bias of int32: expected floats": lambda t, d: t.update(
        {"conv1/bias": jnp.zeros(2, int)}
    ),
    "array conv1/bias: expected finite": lambda t, d: t.update(
        {"conv1/bias": jnp.array([0, jnp.nan])}
    ),
    "mean 'of its preprocessing': expected finite values": lambda t, d: t.update(
        {"preprocessing/mean": jnp.full((1, 1, 3), jnp.inf)}
    ),
    "channels 'xyz': expected 'rgb' or 'bgr'": lambda t, d: d["preprocessing"].update(
        channels="xyz"
    ),
    "frame 37.0: expected a whole number": lambda t, d: d["preprocessing"].update(frame=37.0),
    "scale 'a': expected a number": lambda t, d: d["preprocessing"].update(scale="a"),
    "step '8': expected a whole number": lambda t, d: d.update(step="8"),
    "step -8: expected a whole number": lambda t, d: d.update(step=-8),
    "class name 3: expected a text": lambda t, d: d.update(class_names=[0, 1, 2, 3][::-1]),
    "expected what this version writes": lambda t, d: d.update(class_names=3),
}


@pytest.mark.parametrize("said", EDITS)
def test_what_no_net_has_is_refused_by_its_name(path, said):
    rewritten(path, EDITS[said])
    assert said in refusal(path)


def test_a_header_nested_too_deep_is_refused(path):
    save_file({"weight": jnp.ones(3)}, path, {"zfnet_jax": "[" * 100_000})
    assert "damaged header (RecursionError" in refusal(path)


def test_a_net_is_printed_in_one_line():
    net = make_net()
    assert repr(net) == "Net('net': tiny, 343 parameters, 4 classes, step 17)"
    imported = replace(net, config=None, source="alexnet", step=0)
    assert repr(imported).endswith("4 classes, from 'alexnet')")
    assert "mean" not in repr(net.preprocessing)


def test_what_fails_leaves_the_old_file_and_no_other(path, monkeypatch):
    before = path.read_bytes()

    def fail(_, partial: Path, __) -> None:
        partial.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(weights, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        weights.write(make_net(), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_header_says_what_the_file_is(path):
    whole = path.read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    description = json.loads(header["__metadata__"]["zfnet_jax"])["net"]
    assert tuple(description["class_names"]) == NAMES
    assert configs.from_json(description["config"]) == make_net().config
    assert header["conv1/kernel"]["dtype"] == "BF16"


def test_equal_nets_make_equal_files(path, tmp_path):
    again = tmp_path / "again.safetensors"
    weights.write(make_net(), again)
    assert again.read_bytes() == path.read_bytes()


def test_filters_are_shown_in_rgb():
    net = make_net()  # which reads BGR
    kernel = np.asarray(net.params["conv1"]["kernel"])
    shown = net.rgb_kernel("conv1")
    assert shown.shape == kernel.shape
    np.testing.assert_array_equal(shown[:, :, 0], kernel[:, :, 2])
    np.testing.assert_array_equal(shown[:, :, 1], kernel[:, :, 1])
