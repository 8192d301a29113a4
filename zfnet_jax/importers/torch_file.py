"""The tensors of a PyTorch state dict, read where they lie in its file and without PyTorch.

A .pth file is a pickle that names its tensors and, beside it, their bytes: in an archive (since
PyTorch 1.6), or one after the other behind the pickle (before). The pickle is loaded with what
plain tensors need and nothing else, as `torch.load(weights_only=True)` does. PyTorch alone would
take more memory than the weights.
"""

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from zfnet_jax.importers.assembly import Tensor, span, stored

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
_FLOATS = ("F64", "F32", "F16", "BF16")

_MARK = 0x1950A86A20F9469CFC6C  # that a file of the older form begins with


def read(path: Path) -> dict[str, Tensor]:
    """Finds the tensors of a state dict.

    Args:
      path: a .safetensors file, or any other that `torch.save` wrote.

    Returns:
      The tensors by name. One that does not hold floats says so when it is read.

    Raises:
      ValueError: the file is damaged, or holds anything but names and tensors.
    """
    return _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)


def _tensor(
    name: str,
    code: str,
    shape: tuple[int, ...],
    path: Path,
    start: int,
    strides: tuple[int, ...] | None = None,
    skipped: int = 0,
) -> Tensor:
    """A tensor of a file, so many elements behind a byte."""

    def values() -> np.ndarray:
        if code not in _FLOATS:
            raise ValueError(f"tensor {name} of {code}: expected one of {', '.join(_FLOATS)}")
        dtype = np.dtype(_DTYPES[code])
        begin = start + skipped * dtype.itemsize
        return stored(name, shape, path, dtype, begin, strides).read()

    return Tensor(name, shape, values)


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
    start = 8 + length
    return {
        name: _tensor(
            name, said["dtype"], tuple(said["shape"]), path, start + said["data_offsets"][0]
        )
        for name, said in header.items()
    }


class _Storage(NamedTuple):
    """Numbers of one type, which the file knows by a key."""

    code: str
    key: str
    length: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.length * np.dtype(_DTYPES[self.code]).itemsize


class StridedTensor(NamedTuple):
    """A tensor: elements of a storage, from one on, with strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StridedTensor:
    view = StridedTensor(storage, offset, tuple(shape), tuple(strides))
    whole = all(
        isinstance(each, int) and each >= 0 for each in (offset, *view.shape, *view.strides)
    )
    inside = whole and offset + span(view.shape, view.strides) <= storage.length
    if not inside:
        raise ValueError(f"a tensor of shape {shape} outside its storage")
    return view


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

# All that a pickle of plain tensors names.
_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): code for name, code in _STORAGES.items()},
}


class _NotPlain(Exception):
    """A pickle names what plain tensors do not need."""


class _Unpickler(pickle.Unpickler):
    """Which calls nothing but what is in `_PLAIN`, and keeps what storages it met."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise _NotPlain(f"{module}.{name}")
        return _PLAIN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, code, key, _, length, *view = pid
        if kind != "storage" or code not in _DTYPES or any(view):
            raise ValueError(f"storage {pid}")
        return self.storages.setdefault(key, _Storage(code, key, length))


def _archive(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """What is pickled in an archive, and by key the byte that each storage starts at."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        folder = names[0].split("/")[0]
        if f"{folder}/byteorder" in names and archive.read(f"{folder}/byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        with archive.open(f"{folder}/data.pkl") as pickled:
            unpickler = _Unpickler(pickled)
            state = unpickler.load()
        starts = {}
        for storage in unpickler.storages.values():
            entry = archive.getinfo(f"{folder}/data/{storage.key}")
            if (entry.compress_type, entry.file_size) != (zipfile.ZIP_STORED, storage.size):
                raise ValueError(f"storage {storage.key} of {entry.file_size} bytes")
            # Behind its header in place, which may be padded otherwise than the directory's.
            file.seek(entry.header_offset + 26)
            name, padding = struct.unpack("<HH", file.read(4))
            starts[storage.key] = entry.header_offset + 30 + name + padding
        return state, starts


def _stream(file: IO[bytes]) -> tuple[Any, dict[str, int]]:
    """The same of the form before: pickles of a mark, a version and the machine, then the state,
    its storages' keys, and each storage behind its length."""
    mark, _, machine = (_Unpickler(file).load() for _ in range(3))
    if mark != _MARK or not machine["little_endian"]:
        raise ValueError("not its mark, or big-endian numbers")
    unpickler = _Unpickler(file)
    state = unpickler.load()
    starts = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        starts[key] = file.tell()
        end = file.seek(storage.size, os.SEEK_CUR)
        if count != storage.length or end > os.fstat(file.fileno()).st_size:
            raise ValueError(f"storage {key} is cut short")
    return state, starts


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            form = _archive if zipfile.is_zipfile(file) else _stream
            file.seek(0)
            state, starts = form(file)
    except _NotPlain as error:
        raise ValueError(
            f"expected a pickle of plain tensors, a state dict; it holds {error}, "
            "which is not loaded"
        ) from None
    except Exception as error:  # whatever the file makes the unpickler and the archive trip over
        reason = str(error).split("\n")[0][:120]
        raise ValueError(
            f"expected what torch.save wrote of a state dict ({type(error).__name__}: {reason})"
        ) from None
    if not isinstance(state, Mapping):
        raise ValueError(f"expected a state dict, names to tensors; it is a {type(state).__name__}")
    tensors = {}
    for name, view in state.items():
        if not (isinstance(name, str) and isinstance(view, StridedTensor)):
            raise ValueError(
                f"expected a state dict, names to tensors; {name!r} is a {type(view).__name__}"
            )
        storage, start = view.storage, starts[view.storage.key]
        tensors[name] = _tensor(
            name, storage.code, view.shape, path, start, view.strides, view.offset
        )
    return tensors
