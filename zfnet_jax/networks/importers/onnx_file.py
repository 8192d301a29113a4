"""An ONNX file's graph and its constants, without a second copy of the weights in memory.

The onnx package would hold a whole file and then all of its message. So the large arrays are found
where they lie in the file, and the package is given the message without them. A message of protocol
buffers is a row of fields, each a key (its number and kind), and then a number or a length and that
many bytes; what is cut out here are two kinds of fields of the graph's initializers.
"""

import math
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zfnet_jax.core.extras import import_extra
from zfnet_jax.networks.importers.assembly import Tensor, stored

# Numbers of fields, of onnx.proto.
_GRAPH, _INITIALIZER = 7, 5  # of a model, of a graph
_FLOATS, _RAW = 4, 9  # of a tensor: its values, packed or as raw bytes
_BYTES = 2  # the kind of a field that has a length
_LARGE = 1024  # bytes; smaller arrays stay in the message


class _Span(NamedTuple):
    """Bytes of a file."""

    offset: int
    length: int


class _Field(NamedTuple):
    """A field of a message: where its key starts, and where its content begins and ends."""

    number: int
    kind: int
    start: int
    begin: int
    end: int


def read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """Reads a model.

    Args:
      path: an .onnx file; arrays may lie in other files beside it.

    Returns:
      The model, an `onnx.ModelProto` whose large initializers are empty, and all initializers and
      constants by name.

    Raises:
      ValueError: the file is no model, or damaged.
    """
    onnx = import_extra("onnx", "import")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        message, spans = _without_arrays(data)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(message)
    except Exception as error:  # protobuf's own kinds differ between its implementations
        raise ValueError(f"expected an ONNX model ({error})") from None
    if not model.graph.node:
        raise ValueError("expected an ONNX model, it has no nodes")
    constants = {
        each.name: _tensor(onnx, path, each, span)
        for each, span in zip(model.graph.initializer, spans, strict=True)
    }
    for node in model.graph.node:
        array = _constant(onnx, node, constants)
        if array is not None:
            name = node.output[0]
            constants[name] = Tensor(name, array.shape, lambda array=array: array)
    return model, constants


def _without_arrays(data: mmap.mmap) -> tuple[bytes, list[_Span | None]]:
    """The message without its large initializers' values, and where in the file these are."""
    spans: list[_Span | None] = []

    def tensor(field: _Field) -> bytes:
        kept, span = [], None
        for each in _fields(data, field.begin, field.end):
            values = each.number in (_FLOATS, _RAW) and each.kind == _BYTES
            if values and each.end - each.begin >= _LARGE and span is None:
                span = _Span(each.begin, each.end - each.begin)
            else:
                kept.append(data[each.start : each.end])
        spans.append(span)
        return b"".join(kept)

    def graph(field: _Field) -> bytes:
        return _rewritten(data, field.begin, field.end, _INITIALIZER, tensor)

    return _rewritten(data, 0, len(data), _GRAPH, graph), spans


def _rewritten(
    data: mmap.mmap, begin: int, end: int, number: int, rewrite: Callable[[_Field], bytes]
) -> bytes:
    """A message whose fields of one number have another content."""
    parts = []
    for field in _fields(data, begin, end):
        if field.number == number and field.kind == _BYTES:
            content = rewrite(field)
            parts += [_varint(number << 3 | _BYTES), _varint(len(content)), content]
        else:
            parts.append(data[field.start : field.end])
    return b"".join(parts)


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[_Field]:
    """The fields of the message between two places; ValueError where it is not one."""
    place = begin
    while place < end:
        key, after = _read_varint(data, place, end)
        number, kind = key >> 3, key & 7
        match kind:
            case 0:
                _, stop = _read_varint(data, after, end)
            case 1 | 5:
                stop = after + (8 if kind == 1 else 4)
            case 2:
                length, after = _read_varint(data, after, end)
                stop = after + length
            case _:
                raise ValueError(f"expected an ONNX model, byte {place} begins no field")
        if stop > end:
            raise ValueError(f"expected {stop - end} bytes more; the file is cut short or no model")
        yield _Field(number, kind, place, after, stop)
        place = stop


def _read_varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place after it."""
    value = 0
    for count, each in enumerate(data[place : min(place + 10, end)]):
        value |= (each & 127) << 7 * count
        if each < 128:
            return value, place + count + 1
    raise ValueError(f"expected an ONNX model, byte {place} begins no number")


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _tensor(onnx: Any, path: Path, proto: Any, span: _Span | None) -> Tensor:
    """An initializer, to be read from where its values are."""
    name, shape = proto.name, tuple(proto.dims)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        path, span = _external(path, proto)
    if span is None:
        return Tensor(name, shape, lambda: _array(onnx, proto))
    if proto.data_type not in onnx.helper.get_all_tensor_dtypes():
        raise ValueError(f"tensor {name} of type {proto.data_type}: expected one of ONNX's")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
    offset, length = span
    if math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"tensor {name} of shape {shape}: {length} bytes do not fill it")
    if offset + length > path.stat().st_size:
        raise ValueError(f"tensor {name}: {path} is cut short before its end")
    return stored(name, shape, path, dtype, offset)


def _array(onnx: Any, proto: Any) -> np.ndarray:
    """The values of a tensor that is in the message."""
    try:
        return onnx.numpy_helper.to_array(proto)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"tensor {proto.name}: damaged ({error})") from None


def _external(path: Path, proto: Any) -> tuple[Path, _Span]:
    """Where the values of an initializer lie that is in another file."""
    said = {entry.key: entry.value for entry in proto.external_data}
    folder = path.resolve().parent
    file = (folder / said.get("location", "")).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(f"tensor {proto.name}: its file {file} is not beside the model")
    if not file.is_file():
        raise ValueError(f"tensor {proto.name}: expected its values in {file}, there is none")
    size, first = file.stat().st_size, said.get("offset", "0")
    length = said.get("length", "")
    if not first.isdecimal() or int(first) > size or not (length or "0").isdecimal():
        raise ValueError(f"tensor {proto.name}: expected a place in {file}, it is at {said}")
    return file, _Span(int(first), int(length or size - int(first)))


def _constant(onnx: Any, node: Any, constants: dict[str, Tensor]) -> np.ndarray | None:
    """What a node gives that depends on nothing; None of other nodes."""
    if node.op_type not in ("Constant", "ConstantOfShape"):
        return None
    stored_values = [each.t for each in node.attribute if each.name == "value"]
    value = _array(onnx, stored_values[0]) if stored_values else None
    if node.op_type == "Constant":
        return value
    shape = constants.get(node.input[0]) if node.input else None
    filled = np.zeros(1, np.float32) if value is None else value
    return None if shape is None else np.broadcast_to(filled, shape.read().astype(np.int64))
