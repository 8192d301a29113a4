"""Files of other programs: ONNX graphs, and the state dicts of the nets that are recognised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from zfnet_jax.networks.importers.assembly import Imported
from zfnet_jax.networks.importers.torch import FAMILIES, Family
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.model import forward

SIZE, CLASSES = 33, 5
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
Model = Any


class Chain:
    """An ONNX graph whose nodes follow one another."""

    def __init__(self, size: int = SIZE, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
        self.current = "x"

    def array(self, name: str, values: np.ndarray) -> str:
        """An initializer."""
        self.arrays[name] = values
        return name

    def weights(self, *shape: int) -> str:
        """An initializer of random values that keep activations about as large as they are."""
        deviation = 0.3 if len(shape) == 1 else (2 / np.prod(shape[1:])) ** 0.5
        values = self.rng.normal(0, deviation, shape).astype(np.float32)
        return self.array(f"w{len(self.arrays)}", values)

    def add(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> "Chain":
        """A node behind the last one."""
        number = len(self.nodes)
        output = f"t{number}"
        self.nodes.append(
            helper.make_node(op, [self.current, *inputs], [output], name=f"n{number}", **attributes)
        )
        self.current = output
        return self

    def conv(self, outputs: int, inputs: int, size: int, **attributes: Any) -> "Chain":
        """A convolution with a bias, and its ReLU."""
        kernel, bias = self.weights(outputs, inputs, size, size), self.weights(outputs)
        return self.add("Conv", kernel, bias, **attributes).add("Relu")

    def gemm(self, outputs: int, inputs: int) -> "Chain":
        """A dense layer."""
        return self.add("Gemm", self.weights(outputs, inputs), self.weights(outputs), transB=1)

    def model(self, opset: int = 12, producer: str = "tests") -> Model:
        """The model."""
        output = helper.make_tensor_value_info(self.current, TensorProto.FLOAT, None)
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [self.input],
            [output],
            [numpy_helper.from_array(values, name) for name, values in self.arrays.items()],
        )
        version = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=version, ir_version=8, producer_name=producer)


def grouped() -> Chain:
    """A small net of all that can be expressed: maps of 16, 8, 8 and 4 pixels."""
    chain = Chain().conv(8, 3, 5, strides=[2, 2], pads=[1, 1, 1, 1])
    chain.add("LRN", size=3, alpha=0.5, bias=1.5)
    chain.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    chain.conv(6, 4, 3, pads=[1, 1, 1, 1], group=2)
    chain.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    chain.add("Flatten").gemm(10, 6 * 4 * 4).add("Relu").add("Dropout")
    return chain.gemm(CLASSES, 10).add("Softmax")


def light(name: str, divide: int) -> Model:
    """A model of the onnx package with random weights, its hidden dense layers narrowed."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph = model.graph
    shapes = {each.name: numpy_helper.to_array(each).tolist() for each in graph.initializer}
    rng = np.random.default_rng(0)
    below = None
    filled = []
    for node in [each for each in graph.node if each.op_type == "ConstantOfShape"]:
        graph.node.remove(node)
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            shape = shapes[f"{node.input[1]}__SHAPE"]
            if node.op_type == "Gemm":
                shape = [shape[0] if shape[0] == 1000 else shape[0] // divide, below or shape[1]]
                below = shape[0]
            deviation = (2 / np.prod(shape[1:])) ** 0.5
            for place, form, scale in ((1, shape, deviation), (2, shape[:1], 0.1)):
                values = rng.standard_normal(form, np.float32) * np.float32(scale)
                filled.append(numpy_helper.from_array(values, node.input[place]))
    graph.initializer.extend(filled)
    return model


def run_layers(model: Model, images: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime makes of NHWC images: every layer's output, NHWC, and last the logits."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    ends = ("Relu", "LRN", "MaxPool", "Gemm", "MatMul", "Add")
    found = [node for node in model.graph.node if node.op_type in ends]
    goes_on = {node.input[0] for node in found if node.op_type in ("Relu", "Add")}
    names = [node.output[0] for node in found if node.output[0] not in goes_on]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(n, 1, None) for n in names)
    return [channels_last(array) for array in run_outputs(model, images, names)]


def run_outputs(model: Model, images: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    """What onnxruntime makes of NHWC images, in its own layout."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    constants = {each.name for each in model.graph.initializer}
    (pictures,) = [each.name for each in model.graph.input if each.name not in constants]
    given = {pictures: np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    found: Any = session.run(list(names), given)
    return found


def channels_last(array: np.ndarray) -> np.ndarray:
    """NCHW maps as NHWC; vectors as they are."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def our_layers(imported: Imported, images: np.ndarray) -> list[np.ndarray]:
    """What this package makes of the same images."""
    _, trace = forward(imported.architecture, imported.params, images)
    return [np.asarray(each) for each in trace.activations.values()]


def expect_equal(imported: Imported, images: np.ndarray, expected: Sequence[np.ndarray]) -> None:
    """Compares layer by layer."""
    found = our_layers(imported, images)
    names = [layer.name for layer in imported.architecture]
    for name, ours, theirs in zip(names, found, expected, strict=True):
        assert ours.shape == theirs.shape, name
        assert np.linalg.norm(theirs) > 0, name
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert error <= 1e-5, f"{name}: {error}"


def pictures(size: int, count: int = 1, scale: float = 50.0) -> np.ndarray:
    """Random network space, NHWC."""
    values = np.random.default_rng(1).normal(0, scale, (count, size, size, 3))
    return values.astype(np.float32)


def family(name: str) -> Family:
    """A family that is recognised."""
    return next(each for each in FAMILIES if each.architecture.name == name)


def state_dict(name: str, classes: int = CLASSES, **widths: int) -> dict[str, np.ndarray]:
    """Random tensors of a family, as PyTorch lays them out."""
    known = family(name)
    arch: Architecture = known.architecture.with_features(**widths)
    rng, tensors = np.random.default_rng(0), {}
    for layer, shape in arch.kernel_shapes(classes).items():
        axes = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
        values = rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape).astype(np.float32)
        tensors[f"{known.modules[layer]}.weight"] = np.ascontiguousarray(values.transpose(axes))
        tensors[f"{known.modules[layer]}.bias"] = rng.normal(0, 0.1, shape[-1:]).astype(np.float32)
    return tensors


def refused(importer: Any, path: Path, kind: str) -> str:
    """What an importer says of a file that it refuses, in one line that names the file."""
    with pytest.raises(ValueError, match=f"{kind} ") as caught:
        importer.load(path)
    message = str(caught.value)
    assert message.startswith(f"{kind} {path}: ")
    assert "\n" not in message
    return message
