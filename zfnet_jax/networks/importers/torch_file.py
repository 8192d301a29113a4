"""The tensors of a PyTorch state dict, read where they lie in its file and without PyTorch.

A .pth file is a pickle that names its tensors and, beside it, their bytes: in an archive (since
PyTorch 1.6), or one after the other behind the pickle (before). A .safetensors file has a header
of JSON in place of the pickle. PyTorch alone would take more memory than the weights.
"""

import json
import mmap
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from zfnet_jax.networks.importers import torch_pickle
from zfnet_jax.networks.importers.assembly import Tensor, stored
from zfnet_jax.networks.importers.torch_pickle import DTYPES, Foreign, StridedTensor

_MARK = 0x1950A86A20F9469CFC6C  # that a file of the older form begins with

_STATE_DICTS = ("state_dict", "model_state_dict", "model")
"""What training scripts call the state dict that they save beside other things, in the order in
which one is taken."""


class StateDict(NamedTuple):
    """A state dict.

    Attributes:
      tensors: by name, of whatever numbers.
      entry: the entry of a training checkpoint that it is, such as "state_dict"; None where the
        file holds nothing else.
    """

    tensors: Mapping[str, Tensor]
    entry: str | None = None


def read(path: Path) -> StateDict:
    """Finds the tensors of a state dict.

    Args:
      path: a .safetensors file, or any other that `torch.save` wrote of a state dict or of a
        dictionary with a state dict in it.

    Returns:
      The state dict.

    Raises:
      ValueError: the file is damaged, or has no state dict.
    """
    return StateDict(_safetensors(path)) if path.suffix == ".safetensors" else _pickled(path)


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
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(
                f"tensor {name} of {entry['dtype']}: expected one of {', '.join(DTYPES)}"
            )
        start = 8 + length + entry["data_offsets"][0]
        tensors[name] = stored(name, entry["shape"], path, DTYPES[entry["dtype"]], start)
    return tensors


def _archive(file: mmap.mmap) -> tuple[Any, dict[str, int]]:
    """What is pickled in an archive, and by key the byte that each storage starts at."""
    with zipfile.ZipFile(file) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
        folder = archive.namelist()[0].split("/")[0]

        def part_at(name: str) -> tuple[int, int]:
            """The first byte of a part, and its length."""
            entry = archive.getinfo(f"{folder}/{name}")
            # Behind its header in place, which may be padded otherwise than the directory's.
            file.seek(entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            if entry.compress_type != zipfile.ZIP_STORED or start + entry.file_size > len(file):
                raise ValueError(f"its {name[:80]} is compressed, or cut short")
            return start, entry.file_size

        if f"{folder}/byteorder" in archive.namelist():
            start, length = part_at("byteorder")
            if file[start : start + length] != b"little":
                raise ValueError("its numbers are big-endian")
        start, _ = part_at("data.pkl")
        file.seek(start)
        content, storages = torch_pickle.load(file)
        starts = {}
        for key, storage in storages.items():
            starts[key], length = part_at(f"data/{key}")
            if length != storage.size:
                raise ValueError(f"storage {key[:80]} of {length} bytes")
        return content, starts


def _stream(file: mmap.mmap) -> tuple[Any, dict[str, int]]:
    """The same of the form before: pickles of a mark, a version and the machine, then the content,
    its storages' keys, and each storage behind its length."""
    mark, _, machine = (torch_pickle.load(file)[0] for _ in range(3))
    if mark != _MARK or not machine["little_endian"]:
        raise ValueError("not its mark, or big-endian numbers")
    content, storages = torch_pickle.load(file)
    keys, starts = torch_pickle.load(file)[0], {}
    if not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise ValueError("other storages than its tensors'")
    for key in keys:
        storage = storages[key]
        (length,) = struct.unpack("<q", file.read(8))
        starts[key] = file.tell()
        if length != storage.length or starts[key] + storage.size > len(file):
            raise ValueError(f"storage {key[:80]} is cut short")
        file.seek(starts[key] + storage.size)
    return content, starts


def _pickled(path: Path) -> StateDict:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # As PyTorch tells: the weights of a stream may hold an archive's other marks.
            content, starts = (_archive if data[:4] == b"PK\x03\x04" else _stream)(data)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever the file makes the unpickler and the archive trip over
        reason = str(error).split("\n")[0][:120]
        raise ValueError(
            f"expected what torch.save wrote of a state dict ({type(error).__name__}: {reason})"
        ) from None
    entry = _entry(content)
    state = content if entry is None else content[entry]
    tensors = {}
    for name, tensor in state.items():
        if not (isinstance(name, str) and isinstance(tensor, StridedTensor)):
            what = repr(name[:80]) if isinstance(name, str) else _what(name)
            raise ValueError(f"expected a state dict, names to tensors; {what} to {_what(tensor)}")
        storage, first, shape, strides = tensor
        start = starts[storage.key] + first * storage.dtype.itemsize
        tensors[name] = stored(name, shape, path, storage.dtype, start, strides)
    return StateDict(tensors, entry)


def _entry(content: Any) -> str | None:
    """The entry of a training checkpoint that is its state dict; None of a bare state dict.

    Raises:
      ValueError: there is no dictionary, or several that could be it.
    """
    if not isinstance(content, dict):
        advice = "; save its state_dict()" if isinstance(content, Foreign) else ""
        raise ValueError(f"expected a state dict, names to tensors; it is {_what(content)}{advice}")
    named = [key for key in _STATE_DICTS if isinstance(content.get(key), dict)]
    if named:
        return named[0]
    others = [key for key, value in content.items() if isinstance(key, str) and _is_state(value)]
    if len(others) > 1:
        names = ", ".join(repr(key[:80]) for key in others)
        raise ValueError(f"state dicts {names}: expected one, or one called 'state_dict'")
    return others[0] if others else None


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(tensor, StridedTensor) for tensor in value.values())
    )


def _what(value: Any) -> str:
    """What a value is, in words; one that is not loaded by the name of its class."""
    if isinstance(value, Foreign):
        return f"a {value.name[:120]}, which is not loaded"
    return f"a {type(value).__name__}"
