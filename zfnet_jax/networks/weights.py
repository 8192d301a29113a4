"""A net in one .safetensors file: small, safe to open, and all that a tool needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zfnet_jax.core.files import whole_file
from zfnet_jax.networks.net import Net, as_bytes, assemble, describe, digest
from zfnet_jax.zfnet.trace import Params

SUFFIX = ".safetensors"
_HEADER, _MEAN = "zfnet_jax", "preprocessing/mean"


def write(net: Net, path: Path, dtype: DTypeLike = jnp.bfloat16) -> None:
    """Writes a net; the file appears only when it is whole.

    Args:
      net: the net.
      path: a file name that ends in .safetensors.
      dtype: the type that parameters are stored in; they are read as float32.

    Raises:
      OSError: it cannot be written.
    """
    tensors = {
        f"{layer}/{kind}": np.ascontiguousarray(array, jnp.dtype(dtype))
        for layer, kinds in net.params.items()
        for kind, array in kinds.items()
    }
    tensors[_MEAN] = np.ascontiguousarray(net.preprocessing.mean)
    description = describe(net)
    # One value, since the order of several in the header is random. In UTF-8, since a damaged
    # escape such as \u00E9 for \u00e9 would mean the same and pass unnoticed.
    header = {"net": description, "sha256": _digest(tensors, description)}
    try:
        with whole_file(path) as partial:
            save_file(tensors, partial, {_HEADER: json.dumps(header, ensure_ascii=False)})
    except SafetensorError as error:  # a missing folder or a full disk
        raise OSError(f"{path}: cannot be written ({error})") from error


def read(path: Path) -> Net:
    """Reads a net that `write` wrote.

    Raises:
      ValueError: there is no such file, or it is damaged, or no net of this package.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path}: expected a file, there is none")
    try:
        with safe_open(path, "flax") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path}: damaged ({error})") from None
    if _HEADER not in metadata:
        raise ValueError(f"checkpoint {path}: expected a net that zfnet_jax wrote")
    try:
        header = json.loads(metadata[_HEADER])
        description, sha = header["net"], header["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {path}: damaged header ({error!r})") from None
    if _digest(tensors, description) != sha:
        raise ValueError(f"checkpoint {path}: damaged, its contents do not match their digest")
    params: Params = {}
    for name, tensor in tensors.items():
        layer, kind = name.split("/")
        if name != _MEAN:
            params.setdefault(layer, {})[kind] = tensor.astype(jnp.float32)
            if not jnp.isfinite(tensor).all():
                raise ValueError(f"checkpoint {path}: {name} is not finite; expected numbers")
    try:
        return assemble(description, params, np.asarray(tensors[_MEAN]))
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from None


def _digest(tensors: Mapping[str, Any], description: Any) -> str:
    return digest({**tensors, "": as_bytes(description)})
