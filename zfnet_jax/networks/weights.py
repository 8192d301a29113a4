"""A net in one .safetensors file: small, safe to open, and all that a command needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zfnet_jax.core import identity
from zfnet_jax.core.files import whole_file
from zfnet_jax.networks.net import Net, from_json, to_json
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
    description = to_json(net)
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
      OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path}: expected a file, there is none")
    try:
        # Opened here too, since safe_open calls every error of the system a missing file.
        with path.open("rb"), safe_open(path, "flax") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path}: damaged ({error})") from None
    if _HEADER not in metadata:
        raise ValueError(f"checkpoint {path}: expected a net that zfnet_jax wrote")
    try:
        header = json.loads(metadata[_HEADER])
        description, intact = header["net"], _digest(tensors, header["net"]) == header["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"checkpoint {path}: damaged header ({error!r})") from None
    if not intact:
        raise ValueError(f"checkpoint {path}: damaged, its contents do not match their digest")
    try:
        return _net(description, tensors)
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from None


def _net(description: Any, tensors: Mapping[str, Any]) -> Net:
    if _MEAN not in tensors:
        raise ValueError(f"array {_MEAN}: expected one, there is none")
    params: Params = {}
    for name, tensor in tensors.items():
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(f"array {name} of {tensor.dtype}: expected floats")
        layer, _, kind = name.partition("/")
        if name != _MEAN:
            params.setdefault(layer, {})[kind] = tensor.astype(jnp.float32)
    return from_json(description, params, np.asarray(tensors[_MEAN]))


def _digest(tensors: Mapping[str, Any], description: Any) -> str:
    return identity.of_arrays({**tensors, "": identity.as_bytes(description)})
