"""Arrays in .npy files, written and read by rows and never whole in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from zfnet_jax.core.files import errors_that_name


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """An .npy file of which some rows are read or written at a time.

    Not a memory map, in which a full disk would kill the process rather than raise OSError.

    Attributes:
      path: the file.
      shape: of the array.
      dtype: of the array.
      axes: how many leading axes count rows, in row-major order.
      start: where in the file the first row begins, in bytes.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: int
    start: int

    @classmethod
    def create(
        cls, path: Path, shape: Sequence[int], dtype: DTypeLike, axes: int = 1
    ) -> "ArrayFile":
        """Makes a file of zeros."""
        kind, size = np.dtype(dtype), tuple(shape)
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {**header, "shape": size})
            start = file.tell()
            file.truncate(start + kind.itemsize * int(np.prod(size)))
        return cls(path, size, kind, axes, start)

    @classmethod
    def open(cls, path: Path, axes: int = 1) -> "ArrayFile":
        """Takes up a file that `create` made."""
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            return cls(path, shape, kind, axes, file.tell())

    def write(self, numbers: Sequence[int] | np.ndarray, rows: np.ndarray) -> None:
        """Writes rows by their numbers; OSError names the file also where the disk is full."""
        with errors_that_name(self.path, self.path), self.path.open("r+b") as file:
            for number, row in zip(numbers, rows.astype(self.dtype, copy=False), strict=True):
                file.seek(self._offset(int(number)))
                file.write(row.tobytes())

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows that follow each other, (count, ...)."""
        with self.path.open("rb") as file:
            file.seek(self._offset(first))
            flat = np.fromfile(file, self.dtype, count * self._items)
        return flat.reshape(count, *self.shape[self.axes :])

    @property
    def _items(self) -> int:
        return int(np.prod(self.shape[self.axes :]))

    def _offset(self, number: int) -> int:
        return self.start + number * self.dtype.itemsize * self._items
