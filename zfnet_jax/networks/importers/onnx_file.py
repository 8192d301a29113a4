"""An ONNX file's graph and its constants, read by the onnx package.

No constant may hold more values than its file can: a few bytes could otherwise ask for gigabytes.
Arrays in other files are read straight from there, and only beside the model.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zfnet_jax.core.extras import import_extra
from zfnet_jax.networks.importers.assembly import Tensor, stored

_AXIS_LIMIT = 64  # NumPy's


def _onnx() -> Any:
    return import_extra("onnx", "import")


def text(value: str | bytes) -> str:
    """A text of a message, which protobuf gives as bytes where it is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """Reads a model.

    Args:
      path: an .onnx file; arrays may lie in other files of its folder.

    Returns:
      The model, an `onnx.ModelProto`, and all initializers and constants by name.

    Raises:
      ValueError: the file is no model, or damaged.
      OSError: it cannot be read.
    """
    onnx = _onnx()
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # protobuf's own kinds differ between its implementations
        raise ValueError(f"expected an ONNX model ({error})") from None
    if not model.graph.node:
        raise ValueError("expected an ONNX model, it has no nodes")
    constants = {proto.name: _tensor(path, proto, proto.name) for proto in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Constant", "ConstantOfShape"):
            constant = _constant(path, node, constants)
            if constant is not None:
                constants[constant.name] = constant
    return model, constants


def _tensor(path: Path, proto: Any, name: str) -> Tensor:
    """A constant, to be read from where its values are."""
    if proto.data_location == _onnx().TensorProto.EXTERNAL:
        return _external(path, proto, name)
    shape = _shape(path, name, proto.dims)
    return Tensor(name, shape, lambda: _array(proto, name))


def _shape(path: Path, name: str, dims: Any) -> tuple[int, ...]:
    """A shape that the values in a file can fill."""
    shape, size = tuple(dims), path.stat().st_size
    if len(shape) > _AXIS_LIMIT:
        raise ValueError(f"tensor {name} of {len(shape)} axes: expected {_AXIS_LIMIT} at most")
    if min(shape, default=0) < 0 or math.prod(shape) > 2 * size:  # ONNX has types of four bits
        raise ValueError(
            f"tensor {name} of shape {shape}: expected no more values than its file, of {size:,} "
            "bytes, can hold"
        )
    return shape


def _array(proto: Any, name: str) -> np.ndarray:
    """The values of a tensor that is in the message."""
    try:
        return _onnx().numpy_helper.to_array(proto)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"tensor {name}: damaged ({error})") from None


def _external(path: Path, proto: Any, name: str) -> Tensor:
    """A constant whose values are in another file of the model's folder."""
    onnx = _onnx()
    entries = {text(entry.key): text(entry.value) for entry in proto.external_data}
    folder, location = path.parent.resolve(), entries.get("location", "")
    file = (folder / location).resolve() if location.isprintable() else folder
    if not file.is_relative_to(folder):
        raise ValueError(f"tensor {name}: its file {file} is not in the model's folder")
    if not file.is_file():
        raise ValueError(f"tensor {name}: expected its values in {file}, there is none")
    size, first, length = file.stat().st_size, entries.get("offset", "0"), entries.get("length", "")
    if not first.isdecimal() or int(first) > size or not (length or "0").isdecimal():
        raise ValueError(f"tensor {name}: expected a place in {file}, it is at {entries}")
    if proto.data_type not in onnx.helper.get_all_tensor_dtypes():
        raise ValueError(f"tensor {name} of type {proto.data_type}: expected one of ONNX's")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
    shape, count = _shape(file, name, proto.dims), int(length or size - int(first))
    if math.prod(shape) * dtype.itemsize != count:
        raise ValueError(f"tensor {name} of shape {shape}: {count} bytes do not fill it")
    if int(first) + count > size:
        raise ValueError(f"tensor {name}: {file} is cut short before its end")
    return stored(name, shape, file, dtype, int(first))


def _constant(path: Path, node: Any, constants: Mapping[str, Tensor]) -> Tensor | None:
    """What a node gives that depends on constants alone; None where it does not."""
    name = next(iter(node.output), "")
    values = [attribute for attribute in node.attribute if attribute.name == "value"]
    if any(attribute.type != _onnx().AttributeProto.TENSOR for attribute in values):
        raise ValueError(f"node {node.name or name!r} ({node.op_type}): expected a tensor as value")
    value = _tensor(path, values[0].t, name) if values else None
    if node.op_type == "Constant":
        return value
    dims = constants.get(node.input[0]) if node.input else None
    if dims is None:
        return None
    sizes = dims.read()
    if not np.issubdtype(sizes.dtype, np.integer):
        raise ValueError(f"tensor {dims.name} of {sizes.dtype}: expected the integers of a shape")
    shape = _shape(path, name, sizes.ravel().tolist())
    filled = np.zeros(1, np.float32) if value is None else value.read().ravel()
    if filled.size != 1:
        raise ValueError(f"node {node.name or name!r} ({node.op_type}): expected one value")
    return Tensor(name, shape, lambda: np.broadcast_to(filled, shape))
