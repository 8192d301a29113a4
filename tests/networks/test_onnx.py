import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from foreign import (
    CLASSES,
    LIGHT,
    SIZE,
    Chain,
    expect_equal,
    grouped,
    light,
    pictures,
    refused,
    run_layers,
    run_outputs,
)
from onnx import TensorProto, helper, numpy_helper

from zfnet_jax.networks.importers import onnx as importer
from zfnet_jax.networks.importers.assembly import CAFFE, TORCH
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import ContrastNorm, Conv, Dense, MaxPool
from zfnet_jax.zfnet.model import forward


@pytest.fixture
def imported(tmp_path):
    """Saves a model, imports it and compares every layer with onnxruntime."""

    def through(model, **options):
        path = tmp_path / "net.onnx"
        onnx.save(model, path, **options)
        found = importer.load(path)
        images = pictures(found.architecture.input_size)
        expect_equal(found, images, run_layers(onnx.load(path), images))
        return found

    return through


@pytest.fixture
def refusal(tmp_path):
    """Saves a model that is refused, and gives the message."""

    def of(model):
        path = tmp_path / "net.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return refused(importer, path, "model")

    return of


FULL = pytest.param(1, marks=pytest.mark.slow)


@pytest.mark.parametrize("divide", [32, FULL])
def test_the_model_zoo_s_zfnet512(imported, divide):
    found = imported(light("zfnet512", divide))
    arch = found.architecture
    assert (arch.input_size, found.classes, found.convention) == (224, 1000, CAFFE)
    assert arch["conv1"] == Conv("conv1", 96, size=7, stride=2, rounding="down")
    assert arch["norm1"] == ContrastNorm("norm1", size=5, alpha=5e-4, beta=0.75, k=2.0)
    assert arch.index("norm1") < arch.index("pool1")
    assert arch["conv4"] == Conv("conv4", 512, size=3, padding=1, rounding="down")
    assert arch["pool5"] == MaxPool("pool5", size=2, stride=2, rounding="down")
    assert arch["fc7"] == Dense("fc7", 1024 // divide, dropout=0.0)
    assert arch["fc8"] == Dense("fc8", None, relu=False, dropout=0.0)


@pytest.mark.parametrize("divide", [32, FULL])
def test_the_model_zoo_s_alexnet_and_its_groups(imported, divide):
    found = imported(light("bvlc_alexnet", divide))
    arch, kernel = found.architecture, found.params["conv2"]["kernel"]
    assert arch["pool5"].rounding == "up"  # written as pads of 0, 0, 1, 1
    assert arch["norm1"].k == 1.0
    assert (arch["fc6"].dropout, arch["fc8"].dropout) == (0.5, 0.0)
    assert kernel.shape == (5, 5, 96, 256)
    assert not kernel[:, :, 48:, :128].any()
    assert not kernel[:, :, :48, 128:].any()
    assert kernel[:, :, :48, :128].all()
    assert kernel[:, :, 48:, 128:].all()


def test_weights_that_are_not_stored_but_made_by_the_graph_are_refused():
    """The file of 3 kB would make 340 MB of weights."""
    path = LIGHT / "light_zfnet512.onnx"
    message = refused(importer, path, "model")
    assert "expected no more values than its file, of" in message


def test_dimensions_that_the_file_cannot_fill_are_refused(refusal):
    for dims in ([2**62, 2**62], [2**62] * 50, [-1, 4]):
        model = grouped().model()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        assert "tensor w0 of shape" in refusal(model)


def test_groups_that_make_many_parameters_of_few_are_refused(refusal):
    features = 8192
    chain = Chain(7).conv(features, 3, 1)
    chain.conv(features, 1, 1, group=features)
    message = refusal(chain.add("GlobalAveragePool").model())
    assert "n4' (GlobalAveragePool)" in message
    chain = Chain(1).conv(features, 3, 1).conv(features, 1, 1, group=features)
    message = refusal(chain.add("Flatten").gemm(2, features).model())
    assert "67,166,210 parameters of 65,538 stored values: expected" in message


def test_every_kind_of_node(imported):
    arch = imported(grouped().model()).architecture
    names = ", ".join(layer.name for layer in arch)
    assert names == "conv1, norm1, pool1, conv2, pool2, fc3, fc4"  # counted from the pixels up
    assert arch["pool1"].rounding == "up"
    assert arch["fc3"] == Dense("fc3", 10, dropout=0.5)


WINDOWS = [
    {"strides": [2, 2]},
    {"strides": [3, 3], "pads": [1, 1, 1, 1]},
    {"strides": [2, 2], "pads": [1, 1, 2, 2]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
    {"strides": [2, 2], "ceil_mode": 1},
    {"strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
]


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_windows(imported, window, size):
    chain = Chain(size).conv(4, 3, 1).add("MaxPool", kernel_shape=[3, 3], **window)
    if "ceil_mode" not in window:
        chain.conv(4, 4, 3, **window)
    (flat,) = run_outputs(chain.add("Flatten").model(), pictures(size), [chain.current])
    imported(chain.gemm(CLASSES, flat.shape[1]).model())


def test_a_window_that_would_start_in_the_padding_is_none(tmp_path):
    """As in Caffe, PyTorch and ONNX's opset 22; before that, versions of onnxruntime differ."""
    window = {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    chain = Chain(17).conv(4, 3, 1).add("MaxPool", **window)  # the seventh would start at 18
    onnx.save(chain.add("Flatten").gemm(CLASSES, 6 * 6 * 4).model(), tmp_path / "net.onnx")
    assert importer.load(tmp_path / "net.onnx").architecture.shapes()["pool1"] == (6, 6, 4)


def dense_forms():
    """Graphs of one dense layer on a map, written in several ways; the opset of each."""
    flat = 4 * 7 * 7
    shape = lambda chain: chain.array("shape", np.array([0, -1]))
    start = lambda: Chain(7).conv(4, 3, 1)
    chain = start()
    yield "matmul", chain.add("Flatten").add("MatMul", chain.weights(flat, 6)), 13
    chain = start()
    chain.add("Flatten").add("MatMul", chain.weights(flat, 6))
    yield "matmul and add", chain.add("Add", chain.weights(6)), 13
    chain = start()
    chain.add("Reshape", shape(chain))
    yield "gemm", chain.add("Gemm", chain.weights(flat, 6), chain.weights(6)), 13
    chain = start().add("Identity").add("AveragePool", kernel_shape=[1, 1])
    chain.add("Flatten", axis=1).add("Dropout", chain.array("ratio", np.float32(0.25)))
    yield "identities", chain.gemm(6, flat).add("LogSoftmax", axis=-1), 13
    chain = start().add("Flatten").gemm(8, flat)
    yield "no relu between dense layers", chain.gemm(6, 8).add("Softmax", axis=1), 9
    chain = start().add("Dropout", ratio=0.3).add("Flatten").gemm(8, flat).add("Relu")
    yield "dropout of maps", chain.gemm(6, 8), 7


@pytest.mark.parametrize(("chain", "opset"), [form[1:] for form in dense_forms()])
def test_dense_layers(imported, chain, opset):
    found = imported(chain.model(opset))
    assert found.classes == 6


def test_a_net_without_relu_between_dense_layers(imported):
    found = imported(Chain(7).conv(4, 3, 1).add("Flatten").gemm(8, 196).gemm(6, 8).model())
    assert found.architecture["fc2"] == Dense("fc2", 8, relu=False, dropout=0.0)


def test_weights_as_inputs_as_floats_and_in_another_file(tmp_path, imported):
    plain = grouped().model()
    expected = imported(plain).params

    as_inputs = grouped().model()
    for each in as_inputs.graph.initializer:
        as_inputs.graph.input.append(helper.make_tensor_value_info(each.name, 1, each.dims))

    floats = grouped().model()
    for each in floats.graph.initializer:
        values = numpy_helper.to_array(each).ravel().tolist()
        each.CopyFrom(helper.make_tensor(each.name, TensorProto.FLOAT, each.dims, values))
    assert any(len(each.float_data) > 256 for each in floats.graph.initializer)

    constants = grouped().model()
    for each in constants.graph.initializer:
        node = helper.make_node("Constant", [], [each.name], value=each)
        constants.graph.node.insert(0, node)
    del constants.graph.initializer[:]

    beside = {"save_as_external_data": True, "location": "net.bin", "size_threshold": 0}
    for model, options in [(as_inputs, {}), (floats, {}), (constants, {}), (plain, beside)]:
        found = imported(model, **options).params
        assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
    assert (tmp_path / "net.bin").exists()


def test_half_precision_is_read_as_float32(tmp_path):
    model, path = grouped().model(), tmp_path / "net.onnx"
    for each in model.graph.initializer:
        each.CopyFrom(numpy_helper.from_array(np.float16(numpy_helper.to_array(each)), each.name))
    onnx.save(model, path)
    kernel = importer.load(path).params["fc3"]["kernel"]
    assert kernel.dtype == np.float32
    assert np.array_equal(kernel, np.float32(np.float16(kernel)))


def test_who_wrote_it_tells_how_pictures_are_prepared(imported):
    assert imported(grouped().model(producer="onnx-caffe2")).convention is CAFFE
    assert imported(grouped().model(producer="pytorch")).convention is TORCH


def test_projection_through_groups_is_the_gradient_of_the_grouped_net(imported):
    chain = grouped()
    found = imported(chain.model())
    arch, images = found.architecture, pictures(SIZE, 2)
    weights = [jnp.asarray(values) for values in chain.arrays.values()]

    def grouped_conv2(x):
        conv = jax.lax.conv_general_dilated
        x = conv(x, weights[0], (2, 2), ((1, 1), (1, 1)), precision="highest")
        x = jax.nn.relu(x + weights[1][:, None, None])
        energy = sum(
            jnp.pad(x * x, ((0, 0), (1, 1), (0, 0), (0, 0)))[:, shift : shift + 8]
            for shift in range(3)
        )
        x = x / (1.5 + 0.5 / 3 * energy) ** 0.75
        x = jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), ((0, 0),) * 2 + ((0, 1),) * 2
        )
        options = {"feature_group_count": 2, "precision": "highest"}
        x = conv(x, weights[2], (1, 1), ((1, 1), (1, 1)), **options)
        return jax.nn.relu(x + weights[3][:, None, None])

    outputs, pullback = jax.vjp(grouped_conv2, jnp.moveaxis(images, -1, 1))
    seed = np.random.default_rng(2).normal(size=outputs.shape).astype(np.float32)
    expected = np.moveaxis(np.asarray(pullback(jnp.asarray(seed))[0]), 1, -1)

    _, trace = forward(arch, found.params, images)
    np.testing.assert_allclose(
        trace.activations["conv2"], jnp.moveaxis(outputs, 1, -1), rtol=1e-4, atol=1e-4
    )
    projected = deconvnet.project(
        arch,
        found.params,
        trace,
        "conv2",
        jnp.moveaxis(seed, 1, -1),
        rectify="mask",
        norm="gradient",
    )
    error = np.linalg.norm(projected - expected) / np.linalg.norm(expected)
    assert error < 1e-5


def edited(**changes):
    """The small net with some attributes changed, by the node's number."""
    model = grouped().model()
    for number, (attribute, value) in changes.items():
        node = model.graph.node[int(number[1:])]
        kept = [each for each in node.attribute if each.name != attribute]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(attribute, value)])
    return model


REFUSED_ATTRIBUTES = [
    ("n0", "dilations", [2, 2], "no dilation"),
    ("n0", "strides", [2, 1], "one stride"),
    ("n0", "pads", [1, 0, 1, 0], "the same for rows and columns"),
    ("n0", "auto_pad", "SOMEHOW", "auto_pad SOMEHOW"),
    ("n2", "size", 4, "norm1.size = 4: expected an odd number"),
    ("n3", "kernel_shape", [3, 2], "a square window"),
    ("n0", "pads", [1, 1, 0, 0], "after a map as many as before it"),
    ("n3", "pads", [0, 0, 7, 7], "pads [0, 0, 7, 7] around maps of 16"),
    ("n8", "alpha", 0.5, "expected 0, and both 1"),
    ("n7", "axis", 2, "axis 2: expected 1"),
    ("n0", "strides", [0, 0], "strides [0, 0]: expected 1 or more"),
    ("n0", "auto_pad", 3, "attribute auto_pad of type INT: expected STRING"),
    ("n0", "kernel_shape", [5.0, 5.0], "attribute kernel_shape of type FLOATS: expected INTS"),
    ("n0", "pads", [1, 1], "attribute pads [1, 1]: expected 4 numbers"),
    ("n2", "alpha", "a", "attribute alpha of type STRING: expected FLOAT"),
    ("n2", "size", 3.0, "attribute size of type FLOAT: expected INT"),
    ("n4", "group", [2], "attribute group of type INTS: expected INT"),
    ("n7", "axes", 1, "attribute axes: expected one of axis"),
    ("n2", "alpha", float("nan"), "norm1.alpha = nan: expected a finite number"),
]


@pytest.mark.parametrize(("node", "attribute", "value", "said"), REFUSED_ATTRIBUTES)
def test_attributes_that_cannot_be_expressed(refusal, node, attribute, value, said):
    message = refusal(edited(**{node: (attribute, value)}))
    assert f"node '{node}' (" in message
    assert said in message


def refused_graphs():
    """Graphs that are no chain of our layers, the node that is named, and what is said."""
    start = lambda: Chain(7).conv(4, 3, 1)
    end = lambda chain: chain.add("Flatten").gemm(6, 196).model()
    yield end(start().add("AveragePool", kernel_shape=[1, 1], strides=[2, 2])), "n2' (Average", ""
    yield start().add("GlobalAveragePool").model(), "n2' (GlobalAveragePool)", "max pooling"
    chain = start()
    norm = [chain.weights(4) for _ in range(4)]
    yield end(chain.add("BatchNormalization", *norm)), "n2' (BatchNormalization)", "one of Conv, "
    yield end(start().add("Add", "t0")), "n2' (Add)", "'t0' goes to two nodes"
    yield end(start().add("Mul", "t1")), "n2' (Mul)", "'t1' goes to two nodes"
    yield end(start().add("Add", "elsewhere")), "n2' (Add)", "'elsewhere' to be stored"
    yield end(start().add("Relu")), "n2' (Relu)", "directly behind"
    yield start().gemm(6, 196).model(), "n2' (Gemm)", "a Flatten below it"
    chain = start().add("Flatten").gemm(6, 196).add("Softmax")
    yield chain.gemm(6, 6).model(), "n4' (Softmax)", "at the end only"
    chain = Chain(7)
    chain.add("Conv", chain.weights(4, 3, 1, 1))
    yield end(chain), "n0' (Conv)", "a Relu behind a convolution"
    chain = start()
    yield end(chain.add("Reshape", chain.array("s", np.array([4, -1])))), "n2' (Reshape)", "[4, -1]"
    chain = start().add("Flatten").gemm(6, 196)
    yield chain.add("MaxPool", kernel_shape=[1, 1]).model(), "n4' (MaxPool)", "not a dense layer"
    chain = start().add("Flatten").gemm(6, 196)
    yield chain.add("Add", chain.weights(6)).model(), "n4' (Add)", "the bias of a MatMul"
    model = end(start())
    model.graph.node.append(helper.make_node("Neg", ["shape"], ["minus"], name="aside"))
    yield model, "aside' (Neg)", "between the pictures and the output"
    model = end(start().add("LRN", size=3))
    model.graph.node[2].domain = "other"
    yield model, "n2' (LRN)", "expected one of Conv, "
    model = end(start().add("Sigmoid"))
    model.graph.node[2].name = ""
    yield model, "t2' (Sigmoid)", "expected one of Conv, "  # by its output


@pytest.mark.parametrize(("model", "node", "said"), [*refused_graphs()])
def test_what_cannot_be_expressed_is_refused_by_name(refusal, model, node, said):
    message = refusal(model)
    assert f"node '{node}" in message
    assert said in message


def test_nets_that_end_otherwise_are_refused(refusal):
    chain = Chain(7).conv(4, 3, 1)
    assert "expected the last layer to be dense" in refusal(chain.model())
    chain.add("Flatten").gemm(6, 196).add("Relu")
    assert "without a Relu" in refusal(chain.model())


@pytest.mark.parametrize(("node", "attribute"), [(2, "size"), (3, "kernel_shape")])
def test_a_node_without_what_it_needs_is_refused(refusal, node, attribute):
    model = grouped().model()
    kept = [each for each in model.graph.node[node].attribute if each.name != attribute]
    del model.graph.node[node].attribute[:]
    model.graph.node[node].attribute.extend(kept)
    assert f"node 'n{node}' (" in refusal(model)


def test_a_value_that_is_made_twice_or_not_at_all_is_refused(refusal):
    model = grouped().model()
    model.graph.node.append(helper.make_node("Identity", ["x"], ["x"]))
    assert "values ['x']: expected each to be made once" in refusal(model)
    model = grouped().model()
    del model.graph.node[1].output[:]
    assert "node 'n1' (Relu): expected an output" in refusal(model)


def test_no_groups_are_refused(refusal):
    assert "expected 0 groups to divide 3 and 8 maps" in refusal(edited(n0=("group", 0)))


def test_inputs_that_are_no_pictures_are_refused(refusal):
    model = grouped().model()
    model.graph.input.append(helper.make_tensor_value_info("y", 1, [1]))
    assert "inputs x, y: expected one, the pictures" in refusal(model)
    for shape in ([1, 4, 33, 33], [1, 3, 33, 32], [1, 3, None, None], [3, 33]):
        model = grouped().model()
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, shape))
        assert "expected (N, 3, size, size)" in refusal(model)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["w0", "w1", "w4"])
def test_weights_that_are_not_finite_are_refused(refusal, name, value):
    chain = grouped()
    chain.arrays[name].flat[3] = value
    assert f"tensor {name}: expected finite values" in refusal(chain.model())


def test_weights_of_another_shape_are_refused(refusal):
    chain = grouped()
    chain.arrays["w4"] = chain.arrays["w4"][:, 1:]
    assert "tensor w4 of shape (10, 95): expected (10, 96), as the inputs of fc3 are" in refusal(
        chain.model()
    )
    assert "expected 3 groups to divide 8 and 6 maps" in refusal(edited(n4=("group", 3)))
    chain.nodes[0].input[1] = "w1"
    assert "node 'n0' (Conv): expected a kernel; it is (8,)" in refusal(chain.model())


def test_a_file_cut_short_anywhere_is_refused(refusal):
    whole = grouped().model().SerializeToString()
    for length in itertools.chain(range(0, 40, 3), range(40, len(whole) - 1, 97)):
        refusal(whole[:length])


def test_files_of_other_kinds_are_refused(refusal):
    for content in (
        b"",
        b"A text.\nOf two lines.\n",
        b"\x89PNG\r\n\x1a\n",
        b"\0" * 5000,
        b"\xff" * 99,
    ):
        refusal(content)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a file, there is none"):
        importer.load(tmp_path / "none.onnx")


def test_another_file_of_weights_must_be_there_whole_and_beside(tmp_path):
    path = tmp_path / "net.onnx"
    options = {"save_as_external_data": True, "location": "net.bin", "size_threshold": 0}
    onnx.save(grouped().model(), path, **options)
    whole = (tmp_path / "net.bin").read_bytes()
    (tmp_path / "net.bin").write_bytes(whole[:-4])
    with pytest.raises(ValueError, match="cut short"):
        importer.load(path)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(ValueError, match="there is none"):
        importer.load(path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../elsewhere"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="is not in the model's folder"):
        importer.load(path)


def test_a_constant_s_values_in_another_file_lie_beside_the_model(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    model = grouped().model()
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "w1"]
    values = numpy_helper.to_array(bias)
    onnx.external_data_helper.set_external_data(bias, "bias.bin", 0, values.nbytes)
    bias.ClearField("raw_data")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w1"], value=bias))
    model.graph.initializer.remove(bias)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    (elsewhere / "bias.bin").write_bytes(values.tobytes())
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ValueError, match=r"its values in .*models/bias\.bin, there is none"):
        importer.load(folder / "net.onnx")
    (folder / "bias.bin").write_bytes(values.tobytes())
    found = importer.load(folder / "net.onnx")
    np.testing.assert_array_equal(found.params["conv1"]["bias"], values)


def test_texts_that_are_not_utf_8_are_refused_or_read(tmp_path):
    path = tmp_path / "net.onnx"
    options = {"save_as_external_data": True, "location": "net.bin", "size_threshold": 0}
    onnx.save(grouped().model(producer="tests-of-names"), path, **options)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"tests-of-names", b"tests-\xff\xfe-names"))
    assert importer.load(path).classes == CLASSES
    path.write_bytes(whole.replace(b"net.bin", b"n\xff\xfe.bin"))
    assert "expected its values in" in refused(importer, path, "model")


def test_a_constant_that_is_no_tensor_is_refused(refusal):
    model = grouped().model()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=3, name="three"))
    assert "node 'three' (Constant): expected a tensor as value" in refusal(model)


@pytest.mark.parametrize("place", ["-4", "99999999", "first"])
def test_another_file_of_weights_has_them_at_their_place(tmp_path, place):
    path = tmp_path / "net.onnx"
    options = {"save_as_external_data": True, "location": "net.bin", "size_threshold": 0}
    onnx.save(grouped().model(), path, **options)
    model = onnx.load(path, load_external_data=False)
    (offset,) = [e for e in model.graph.initializer[0].external_data if e.key == "offset"]
    offset.value = place
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=f"tensor w0: expected a place in .*net.bin.*{place}"):
        importer.load(path)


@pytest.mark.parametrize("name", ["w0", "w5"])  # one that lies in the file, one in the message
@pytest.mark.parametrize("data_type", [0, 99])
def test_numbers_of_no_type_are_refused(refusal, name, data_type):
    model = grouped().model()
    (tensor,) = [each for each in model.graph.initializer if each.name == name]
    tensor.data_type = data_type
    assert f"tensor {name}" in refusal(model)


def test_whole_numbers_are_refused(refusal):
    chain = grouped()
    chain.arrays["w1"] = np.zeros(8, np.int32)
    assert "tensor w1 of int32: expected floats" in refusal(chain.model())


def test_without_the_onnx_package_the_extra_is_named(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "package onnx: expected to be installed; pip install 'zfnet-jax[import]'" in refusal(b"")
