"""A trained net as one value, and all of it but its arrays as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
      preprocessing: how pictures become its input.
      class_names: the name of each logit.
      step: the number of updates it has had; 0 where that is not known.
      config: the training run that made it; None for a net from another program.
      source: the name of the file that a net from another program comes from, without its suffix.
    """

    architecture: Architecture
    params: Params
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    step: int = 0
    config: TrainConfig | None = None
    source: str = "net"

    def __repr__(self) -> str:
        classes = len(self.class_names)
        count = self.architecture.parameter_count(classes)
        step = f"step {self.step}" if self.step else f"from {self.source!r}"
        return (
            f"Net({self.name!r}: {self.architecture.name}, {count:,} parameters, "
            f"{classes} classes, {step})"
        )

    @property
    def name(self) -> str:
        """The name of its training run, or of the file that it comes from."""
        return self.config.name if self.config else self.source

    def rgb_kernel(self, layer: str) -> np.ndarray:
        """The first layer's filters with their channels as RGB, (size, size, 3, M) float32."""
        kernel = np.asarray(self.params[layer]["kernel"])
        return np.moveaxis(self.preprocessing.reorder(np.moveaxis(kernel, 2, -1)), -1, 2)


def to_json(net: Net) -> dict[str, Any]:
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


def from_json(data: Mapping[str, Any], params: Params, mean: np.ndarray) -> Net:
    """The net that `to_json` wrote, with its arrays.

    Args:
      data: what `to_json` returned.
      params: the parameters, floats.
      mean: the mean of its preprocessing.

    Raises:
      ValueError: the data is of another form, the arrays are not the architecture's, or a parameter
        is not finite.
    """
    try:
        preprocessing = dict(data["preprocessing"])
        if isinstance(preprocessing["scale"], list):  # JSON has no tuples
            preprocessing["scale"] = tuple(preprocessing["scale"])
        net = Net(
            params=params,
            preprocessing=Preprocessing(mean=mean, **preprocessing),
            class_names=tuple(data["class_names"]),
            step=data["step"],
            **_origin(data),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"description of a net: expected what this version writes ({error!r})"
        ) from None
    _expect("step", net.step, type(net.step) is int and net.step >= 0, "a whole number, 0 or more")
    _expect("source", net.source, isinstance(net.source, str), "a text")
    for name in net.class_names:
        _expect("class name", name, isinstance(name, str), "a text")
    _expect("mean", "of its preprocessing", bool(np.isfinite(mean).all()), "finite values")
    _expect_parameters(net)
    return net


def _expect(name: str, value: object, holds: bool, form: str) -> None:
    if not holds:
        raise ValueError(f"{name} {value!r}: expected {form}")


def _expect_parameters(net: Net) -> None:
    kernels = net.architecture.kernel_shapes(len(net.class_names))
    expected = {
        f"{layer}/{kind}": shape
        for layer, kernel in kernels.items()
        for kind, shape in (("kernel", kernel), ("bias", kernel[-1:]))
    }
    arrays = {
        f"{layer}/{kind}": a for layer, part in net.params.items() for kind, a in part.items()
    }
    for name in [*expected, *arrays]:
        if name not in arrays:
            raise ValueError(f"array {name}: expected the architecture's {expected[name]}, none")
        array = arrays[name]
        if name not in expected or array.shape != expected[name]:
            raise ValueError(
                f"array {name} of shape {array.shape}: expected the architecture's "
                f"{expected.get(name, 'arrays, which have no such name')}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"array {name}: expected finite values, it holds NaN or infinity")


def _origin(data: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of a net, and the training run or the file that it comes from."""
    if "config" in data:
        config = configs.from_json(data["config"])
        return {"architecture": config.architecture, "config": config}
    architecture = architectures.from_json(data["architecture"])
    return {"architecture": architecture, "source": data["source"]}
