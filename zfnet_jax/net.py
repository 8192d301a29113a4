"""A trained net as one value, and its description as JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from zfnet_jax import config as configs
from zfnet_jax.architecture import Architecture
from zfnet_jax.config import TrainConfig
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.trace import Params


@dataclass(frozen=True, eq=False)
class Net:
    """A trained network and what is needed to use it.

    Attributes:
      config: the run that made it.
      params: the parameters, float32.
      preprocessing: what takes pictures to its network space.
      class_names: the name of each logit.
      step: how many updates it has had.
    """

    config: TrainConfig
    params: Params
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    step: int

    @property
    def architecture(self) -> Architecture:
        """The layers that the parameters belong to."""
        return self.config.architecture

    def rgb_kernel(self, layer: str) -> np.ndarray:
        """The first layer's filters, (size, size, 3, M), to look at: their channels as RGB."""
        kernel = np.asarray(self.params[layer]["kernel"])
        return np.moveaxis(self.preprocessing.reorder(np.moveaxis(kernel, 2, -1)), -1, 2)


def describe(net: Net) -> dict[str, Any]:
    """All of a net but its arrays, as plain JSON data."""
    return {
        "config": configs.to_json(net.config),
        "class_names": list(net.class_names),
        "preprocessing": {
            "frame": net.preprocessing.frame,
            "scale": np.asarray(net.preprocessing.scale).tolist(),
            "channels": net.preprocessing.channels,
        },
        "step": net.step,
    }


def assemble(description: Mapping[str, Any], params: Params, mean: np.ndarray) -> Net:
    """The net that `describe` described, with its arrays.

    Raises:
      ValueError: the description is incomplete, or the arrays are not the architecture's.
    """
    try:
        given = dict(description["preprocessing"])
        if isinstance(given["scale"], list):  # JSON has no tuples
            given["scale"] = tuple(given["scale"])
        net = Net(
            configs.from_json(description["config"]),
            params,
            Preprocessing(mean=mean, **given),
            tuple(description["class_names"]),
            description["step"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"description of a net: expected what this version writes ({error!r})"
        ) from None
    shapes = {name: layer["kernel"].shape for name, layer in params.items()}
    expected = net.architecture.kernel_shapes(len(net.class_names))
    if shapes != expected:
        raise ValueError(f"kernels {shapes}: expected the architecture's {expected}")
    return net


def digest(arrays: Any) -> str:
    """The SHA-256 of a pytree of arrays, their names, types and shapes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        array = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        sha.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return sha.hexdigest()


def as_bytes(description: Any) -> np.ndarray:
    """JSON data as an array, (N,) uint8, that `digest` takes; equal data gives equal bytes."""
    return np.frombuffer(json.dumps(description, sort_keys=True).encode(), np.uint8)
