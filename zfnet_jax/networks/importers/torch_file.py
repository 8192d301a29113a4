"""The tensors of a PyTorch state dict, read where they lie in its file and without PyTorch.

A .pth file is a pickle that names its tensors and, beside it, their bytes: in an archive (since
PyTorch 1.6), or one after the other behind the pickle (before). The pickle is loaded with what
plain tensors need and nothing else, as `torch.load(weights_only=True)` does. PyTorch alone would
take more memory than the weights.
"""

import json
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from zfnet_jax.networks.importers.assembly import Tensor, span, stored

# By the names that .safetensors files give them.
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}

_MARK = 0x1950A86A20F9469CFC6C  # that a file of the older form begins with


def read(path: Path) -> dict[str, Tensor]:
    """Finds the tensors of a state dict.

    Args:
      path: a .safetensors file, or any other that `torch.save` wrote.

    Returns:
      The tensors by name, of whatever numbers.

    Raises:
      ValueError: the file is damaged, or holds anything but names and tensors.
    """
    return _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "numpy"):
            pass  # which checks all lengths and places
    except SafetensorError as error:
        raise ValueError(f"damaged ({error})") from None
    # Read by hand, since its pages would stay in memory, with a copy of each.
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    tensors = {}
    for name, said in header.items():
        if said["dtype"] not in _DTYPES:
            raise ValueError(
                f"tensor {name} of {said['dtype']}: expected one of {', '.join(_DTYPES)}"
            )
        start = 8 + length + said["data_offsets"][0]
        tensors[name] = stored(name, said["shape"], path, _DTYPES[said["dtype"]], start)
    return tensors


class _Storage(NamedTuple):
    """Numbers of one type, which the file knows by a key."""

    dtype: np.dtype
    key: str
    length: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.length * self.dtype.itemsize


class StridedTensor(NamedTuple):
    """A tensor: elements of a storage, from one on, with strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: Any = None,
) -> StridedTensor:
    whole = all(isinstance(each, int) and each >= 0 for each in (offset, *shape, *strides))
    # More elements than are stored are a small file that asks for much memory.
    if not (
        isinstance(storage, _Storage)
        and whole
        and math.prod(shape) <= storage.length
        and offset + span(shape, strides) <= storage.length
    ):
        raise ValueError("a tensor that is not in its storage")
    if metadata:
        raise ValueError("a tensor whose values are negated or conjugated when it is read")
    return StridedTensor(storage, offset, tuple(shape), tuple(strides))


# Elements' types by what PyTorch calls a storage of them.
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}


def _itself(tensor: Any, *_: Any) -> Any:
    return tensor


def _of_a_type(rebuild: Callable[..., Any], kind: Any, arguments: Any, state: Any) -> Any:
    return rebuild(*arguments)


# All that a pickle of plain tensors names, an older PyTorch's too. What is not called, such as the
# type of a storage, is a name.
_PLAIN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Tensor"): "Tensor",
    ("torch._tensor", "_rebuild_from_type_v2"): _of_a_type,
    ("torch._utils", "_rebuild_parameter"): _itself,
    ("torch._utils", "_rebuild_parameter_with_state"): _itself,
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch.nn.parameter", "Parameter"): _itself,
    **{("torch", name): code for name, code in _STORAGES.items()},
}


class _NotPlain(Exception):
    """A pickle names what plain tensors do not need."""


# The one in Python, since that in C takes memory by the numbers in a file, not by its length.
class _Unpickler(pickle._Unpickler):
    """Which calls nothing but what is in `_PLAIN`, gives nothing a state, and notes storages."""

    stack: list[Any]

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise _NotPlain(f"{module}.{name}")
        return _PLAIN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, code, key, _, length, *view = pid
        known = kind == "storage" and code in _DTYPES and not any(view)
        if not (known and isinstance(key, str) and isinstance(length, int)):
            raise ValueError("a storage that is not one of numbers")
        return self.storages.setdefault(key, _Storage(np.dtype(_DTYPES[code]), key, length))

    def _leave_state(self) -> None:
        self.stack.pop()

    dispatch: ClassVar[Any] = pickle._Unpickler.dispatch | {pickle.BUILD[0]: _leave_state}


def _archive(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """What is pickled in an archive, and by key the byte that each storage starts at."""
    with zipfile.ZipFile(file) as archive:
        folder = archive.namelist()[0].split("/")[0]

        def place(name: str) -> tuple[int, int]:
            """Where a part of it lies, and its length."""
            entry = archive.getinfo(f"{folder}/{name}")
            # Behind its header in place, which may be padded otherwise than the directory's.
            file.seek(entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            if entry.compress_type != zipfile.ZIP_STORED or start + entry.file_size > _size(file):
                raise ValueError(f"its {name[:80]} is compressed, or cut short")
            return start, entry.file_size

        if f"{folder}/byteorder" in archive.namelist():
            start, length = place("byteorder")
            file.seek(start)
            if file.read(length) != b"little":
                raise ValueError("its numbers are big-endian")
        start, _ = place("data.pkl")
        file.seek(start)
        unpickler = _Unpickler(file)
        state = unpickler.load()
        starts = {}
        for key, storage in unpickler.storages.items():
            starts[key], length = place(f"data/{key}")
            if length != storage.size:
                raise ValueError(f"storage {key[:80]} of {length} bytes")
        return state, starts


def _stream(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """The same of the form before: pickles of a mark, a version and the machine, then the state,
    its storages' keys, and each storage behind its length."""
    mark, _, machine = (_Unpickler(file).load() for _ in range(3))
    if mark != _MARK or not machine["little_endian"]:
        raise ValueError("not its mark, or big-endian numbers")
    unpickler = _Unpickler(file)
    state = unpickler.load()
    keys, starts = _Unpickler(file).load(), {}
    if sorted(keys) != sorted(unpickler.storages):
        raise ValueError("other storages than its tensors'")
    for key in keys:
        storage = unpickler.storages[key]
        (length,) = struct.unpack("<q", file.read(8))
        starts[key] = file.tell()
        if length != storage.length or file.seek(storage.size, os.SEEK_CUR) > _size(file):
            raise ValueError(f"storage {key[:80]} is cut short")
    return state, starts


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            # As PyTorch tells: the weights of a stream may hold an archive's other marks.
            form = _archive if file.read(4) == b"PK\x03\x04" else _stream
            file.seek(0)
            state, starts = form(file)
    except _NotPlain as error:
        raise ValueError(
            f"expected a pickle of plain tensors, a state dict; it holds {str(error)[:120]}, "
            "which is not loaded"
        ) from None
    except Exception as error:  # whatever the file makes the unpickler and the archive trip over
        reason = str(error).split("\n")[0][:120]
        raise ValueError(
            f"expected what torch.save wrote of a state dict ({type(error).__name__}: {reason})"
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"expected a state dict, names to tensors; it is a {type(state).__name__}")
    tensors = {}
    for name, tensor in state.items():
        if not (isinstance(name, str) and isinstance(tensor, StridedTensor)):
            what = repr(name[:80]) if isinstance(name, str) else f"a {type(name).__name__}"
            raise ValueError(
                f"expected a state dict, names to tensors; {what} to a {type(tensor).__name__}"
            )
        storage, first, shape, strides = tensor
        start = starts[storage.key] + first * storage.dtype.itemsize
        tensors[name] = stored(name, shape, path, storage.dtype, start, strides)
    return tensors
