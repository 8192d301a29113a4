"""Identities: digests of arrays, of JSON data and of files, and whether two of them are one.

What is kept on disk and taken up again (a training run, a mining pass, cached features, the parts
of an experiment) stores an identity: JSON data that says what it was made from. It is taken up
only where that is the same; `difference` names the first value that is not.
"""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np

SAMPLE = 4096
"""Bytes of each of the three blocks that `of_sample` reads."""


def of_arrays(arrays: Any) -> str:
    """The SHA-256 of a pytree of arrays, their names, types and shapes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        array = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        sha.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return sha.hexdigest()


def as_bytes(data: Any) -> np.ndarray:
    """JSON data as an array, (N,) uint8, that `of_arrays` takes; equal data gives equal bytes."""
    return np.frombuffer(json.dumps(data, sort_keys=True).encode(), np.uint8)


def of_json(data: Any) -> str:
    """The SHA-256 of JSON data as hexadecimal digits; its strings may be names of files."""
    # Names that are not UTF-8 hold surrogates.
    return hashlib.sha256(json.dumps(data).encode("utf-8", "surrogateescape")).hexdigest()


def of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes as hexadecimal digits.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_sample(file: BinaryIO | bytes) -> str:
    """The SHA-256 of a file's size and of three blocks of its bytes, as hexadecimal digits.

    Two versions of a picture differ in size or almost everywhere in their compressed bytes, and a
    large collection cannot be read whole to compare it.

    Args:
      file: an open file, which can be searched, or its contents.

    Returns:
      The digest of the size and of the first, the middle and the last `SAMPLE` bytes.

    Raises:
      OSError: it cannot be read.
    """
    if isinstance(file, bytes):
        file = io.BytesIO(file)
    size = file.seek(0, io.SEEK_END)
    sha = hashlib.sha256(str(size).encode())
    for start in sorted({0, max((size - SAMPLE) // 2, 0), max(size - SAMPLE, 0)}):
        file.seek(start)
        sha.update(file.read(SAMPLE))
    return sha.hexdigest()


class Difference(NamedTuple):
    """The first value in which two pieces of JSON data differ.

    Attributes:
      name: of the value, such as "net.layers[2]".
      before: the value in the one; None where it is missing.
      now: the value in the other; None where it is missing.
    """

    name: str
    before: Any
    now: Any


def expect_same(before: Any, now: Any, path: Path, remedy: str = "", name: str = "") -> None:
    """Expects what is stored to be made from what there is now.

    Args:
      before: the identity that was stored, as JSON data.
      now: the identity that there is.
      path: where it is stored.
      remedy: what else than the same can be done, such as "another --out".
      name: what the data as a whole is called.

    Raises:
      ValueError: they are not the same; names the first value that differs.
    """
    found = difference(before, now, name)
    if found is not None:
        old, new = (_shown(value) for value in found[1:])
        other = f", or {remedy}" if remedy else ""
        raise ValueError(
            f"{found.name or 'identity'} {new}: {path} was started with {old}; expected the same"
            f"{other}"
        )


def _shown(value: Any) -> str:
    """A value as JSON, a digest by its first digits."""
    text = json.dumps(value)
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1...", text)


def difference(before: Any, now: Any, name: str = "") -> Difference | None:
    """The first value in which JSON data differs; None where it is the same.

    Args:
      before: as it was stored.
      now: as it is.
      name: what the data as a whole is called.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        prefix = f"{name}." if name else ""
        pairs = [(f"{prefix}{key}", before.get(key), now.get(key)) for key in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(before, now, strict=True))]
    else:
        return None if before == now else Difference(name, before, now)
    differences = (difference(old, new, inner) for inner, old, new in pairs)
    return next(filter(None, differences), None)
