"""The pickles inside PyTorch's files, read without PyTorch and without calling what they name.

A pickle is a program for a stack machine. Only the instructions that `torch.save` writes are
carried out (protocol 2, the ones that `torch.load(weights_only=True)` knows), and only the few
functions that make plain tensors are called. An object of any other class becomes a `Foreign`
value: its class is not imported. So time and memory grow with the length of the pickle alone.
"""

import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from zfnet_jax.networks.importers.assembly import span

DTYPES = {
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
"""The types of elements that are read, by the names that .safetensors files give them."""

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

_AXIS_LIMIT = 64  # PyTorch's own limit
_ARGUMENT_LIMIT = 8  # of the functions that are called


class Storage(NamedTuple):
    """Elements of one type, stored under a key.

    Attributes:
      dtype: their type.
      key: the key, unique in the file.
      length: how many there are.
    """

    dtype: np.dtype
    key: str
    length: int

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.length * self.dtype.itemsize


class StridedTensor(NamedTuple):
    """A tensor: elements of a storage.

    Attributes:
      storage: the storage.
      offset: the number of its first element.
      shape: its shape.
      strides: elements from one index to the next, for each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Foreign:
    """An object, a class or a function that is not loaded; whatever is put into it is dropped.

    Attributes:
      name: the module and the name that the pickle gives, such as "argparse.Namespace".
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def append(self, value: Any) -> None:
        """Drops a value."""

    def extend(self, values: Any) -> None:
        """Drops values."""


class Pickle(Protocol):
    """What a pickle is read from; both methods must return no more than there is."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, `size` of them or those that are left."""
        ...

    def readline(self) -> bytes:
        """The next bytes up to a line break."""
        ...


def load(file: Pickle) -> tuple[Any, dict[str, Storage]]:
    """Loads the pickle that begins at a file's position.

    Args:
      file: a memory map or the like; it is left behind the pickle's end.

    Returns:
      What is pickled, of dictionaries, lists, tuples, text, numbers, `StridedTensor` and `Foreign`;
      and all storages by their keys.

    Raises:
      Exception: of many kinds, where the pickle is damaged or PyTorch would not have written it.
    """
    unpickler = _Unpickler(file)
    content = unpickler.load()
    return content, unpickler.storages


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: Any = None,
) -> StridedTensor:
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise ValueError("a tensor without a shape")
    if max(len(shape), len(strides)) > _AXIS_LIMIT:
        raise ValueError(f"a tensor of {len(shape)} axes; expected {_AXIS_LIMIT} at most")
    whole = all(isinstance(number, int) and number >= 0 for number in (offset, *shape, *strides))
    # A tensor of more elements than are stored is a small file that asks for much memory.
    if not (
        isinstance(storage, Storage)
        and whole
        and math.prod(shape) <= storage.length
        and offset + span(shape, strides) <= storage.length
    ):
        raise ValueError("a tensor that is not in its storage")
    if metadata:
        raise ValueError("a tensor whose values are negated or conjugated when it is read")
    return StridedTensor(storage, offset, shape, strides)


def _first(tensor: Any, *_: Any) -> Any:
    """A parameter's tensor."""
    return tensor


def _of_a_class(make: Any, kind: Any, arguments: Any, state: Any) -> StridedTensor:
    """A tensor of a class of its own, as a plain one."""
    if make is not _tensor:
        raise ValueError("an object made by another function than a tensor's")
    return _tensor(*arguments)


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("torch._tensor", "_rebuild_from_type_v2"): _of_a_class,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.nn.parameter", "Parameter"): _first,
    **{("torch", name): code for name, code in _STORAGES.items()},
}
"""What stands for the names in a pickle of plain tensors, an older PyTorch's too."""


def _put(mapping: Any, key: Any, value: Any) -> None:
    if isinstance(mapping, Foreign):
        return
    # The hash of nested tuples can take for ever.
    if not isinstance(key, str | int | float | Foreign | None):
        raise ValueError(f"a dictionary whose key is a {type(key).__name__}")
    if not isinstance(mapping, dict):
        raise ValueError(f"a {type(mapping).__name__} that is used as a dictionary")
    mapping[key] = value


_INSTRUCTIONS = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.BINPERSID),
    *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BINFLOAT),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1),
    *(pickle.BINUNICODE, pickle.SHORT_BINSTRING, pickle.BINSTRING),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.TUPLE),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
)


# The unpickler in Python, since the one in C takes memory by the numbers in a file.
class _Unpickler(pickle._Unpickler):
    """Carries out what `_INSTRUCTIONS` and `_KNOWN` hold, and collects the storages."""

    stack: list[Any]
    memo: dict[int, Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self._pairs = 0

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return self._ordered_dict
        return _KNOWN.get((module, name)) or Foreign(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Storage:
        if not (isinstance(pid, tuple) and len(pid) in (5, 6)):
            raise ValueError("a storage without its five properties")
        kind, code, key, _, length, *view = pid
        numbers = kind == "storage" and isinstance(code, str) and code in DTYPES and not any(view)
        if not (numbers and isinstance(key, str) and isinstance(length, int) and length >= 0):
            raise ValueError("a storage that is not one of numbers")
        return self.storages.setdefault(key, Storage(np.dtype(DTYPES[code]), key, length))

    def _ordered_dict(self, pairs: Any = ()) -> dict[Any, Any]:
        """What Python 2 wrote as a list of pairs, Python 3 as an empty dictionary."""
        made: dict[Any, Any] = {}
        for key, value in pairs:
            _put(made, key, value)
        self._pairs += len(made)
        # One list used many times is a small file that asks for much memory.
        if self._pairs > len(self.memo):
            raise ValueError("dictionaries of more entries than the pickle has values")
        return made

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Foreign):
            if not (isinstance(arguments, tuple) and len(arguments) <= _ARGUMENT_LIMIT):
                raise ValueError("a call that PyTorch does not write")
            function = function(*arguments)
        self.stack.append(function)

    def _drop_state(self) -> None:
        self.stack.pop()

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], key, value)

    def _set_items(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(self.stack[-1], key, value)

    def _refuse(self) -> None:
        raise ValueError("a pickle of another protocol than 2, PyTorch's own")

    dispatch: ClassVar[Any] = {
        **dict.fromkeys(range(256), _refuse),
        **{code[0]: pickle._Unpickler.dispatch[code[0]] for code in _INSTRUCTIONS},
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _reduce,
        pickle.BUILD[0]: _drop_state,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
    }
