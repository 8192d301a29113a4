"""A trained net as one value, and its description as JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from zfnet_jax import config as configs
from zfnet_jax.config import TrainConfig
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.zfnet import architecture as architectures
from zfnet_jax.zfnet.architecture import Architecture
from zfnet_jax.zfnet.trace import Params


@dataclass(frozen=True, eq=False)
class Net:
    """A trained network and what is needed to use it.

    Attributes:
      architecture: the layers that the parameters belong to.
      params: the parameters, float32.
      preprocessing: what takes pictures to its network space.
      class_names: the name of each logit.
      step: the number of updates it has had; 0 where that is not known.
      config: the training run that made it; None for a net from another program.
      source: where a net from another program comes from, such as "alexnet.onnx".
    """

    architecture: Architecture
    params: Params
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    step: int = 0
    config: TrainConfig | None = None
    source: str = "net"

    @property
    def name(self) -> str:
        """What figures and pages call the net."""
        return self.config.name if self.config else self.source

    def rgb_kernel(self, layer: str) -> np.ndarray:
        """The first layer's filters, (size, size, 3, M), to look at: their channels as RGB."""
        kernel = np.asarray(self.params[layer]["kernel"])
        return np.moveaxis(self.preprocessing.reorder(np.moveaxis(kernel, 2, -1)), -1, 2)


def describe(net: Net) -> dict[str, Any]:
    """All of a net but its arrays, as plain JSON data."""
    origin = (
        {"config": configs.to_json(net.config)}
        if net.config
        else {"architecture": architectures.to_json(net.architecture), "source": net.source}
    )
    return {
        **origin,
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
            params=params,
            preprocessing=Preprocessing(mean=mean, **given),
            class_names=tuple(description["class_names"]),
            step=description["step"],
            **_origin(description),
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


def _origin(description: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of a described net, and the run or the file that it comes from."""
    if "config" in description:
        config = configs.from_json(description["config"])
        return {"architecture": config.architecture, "config": config}
    architecture = architectures.from_json(description["architecture"])
    return {"architecture": architecture, "source": description["source"]}


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
