"""What each node of an ONNX graph means as a layer of this package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp

from zfnet_jax.networks.importers.assembly import Affine, Tensor
from zfnet_jax.networks.importers.onnx_attributes import as_written, read_attributes, refuse
from zfnet_jax.zfnet.architecture import (
    CHANNELS,
    ContrastNorm,
    Conv,
    Dense,
    Layer,
    MaxPool,
    Rounding,
    output_size,
)
from zfnet_jax.zfnet.layers import check

_NUMBER_LIMIT = 8
"""More values than a list of sizes has that can be expressed."""


@dataclass
class Walk:
    """The layers so far, and the shape that the next node sees.

    Attributes:
      constants: what is stored, by name.
      opset: the version of ONNX's operations.
      size: rows and columns of the current maps.
      batch: the number of pictures that the graph is made for; 0 where that is open.
      maps: the number of current maps, or of values once `flat`.
      flat: whether the current value is one row a picture.
      layers: the layers so far.
      affine: the tensors of those that have parameters.
      linear: the node of a last layer that has had no ReLU and no dropout yet.
      softmax: the node of a softmax, after which nothing may follow.
    """

    constants: Mapping[str, Tensor]
    opset: int
    size: int
    batch: int
    maps: int = CHANNELS
    flat: bool = False
    layers: list[Layer] = field(default_factory=list)
    affine: dict[str, Affine] = field(default_factory=dict)
    linear: Any = None
    softmax: Any = None

    def take(self, node: Any) -> None:
        """Adds a node's layer, or its part in one; ValueError names a node that has none."""
        if self.softmax is not None:
            refuse(self.softmax, "expected at the end only; before that, it is no layer")
        known: dict[str, Callable[[Any, dict[str, Any]], None]] = {
            "Conv": self._conv,
            "Relu": self._relu,
            "MaxPool": self._max_pool,
            "LRN": self._norm,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Add": self._add,
            "Flatten": self._flatten,
            "Reshape": self._reshape,
            "Dropout": self._dropout,
            "Softmax": self._end,
            "LogSoftmax": self._end,
            "Identity": lambda node, attributes: None,
            "AveragePool": self._average,
            "GlobalAveragePool": self._average,
        }
        if node.op_type not in known or node.domain not in ("", "ai.onnx"):
            refuse(node, f"expected one of {', '.join(known)}")
        if node.op_type not in ("Relu", "Identity", "Dropout") and self._unrectified_conv():
            refuse(self.linear, "expected a Relu behind a convolution")
        known[node.op_type](node, read_attributes(node, self.opset))

    def finish(self) -> tuple[Layer, ...]:
        """All layers, the last of which gives the logits."""
        if not self.layers or not isinstance(self.layers[-1], Dense) or self.layers[-1].relu:
            last = self.layers[-1] if self.layers else "nothing"
            raise ValueError(f"expected the last layer to be dense, without a Relu; it is {last}")
        return (*self.layers[:-1], replace(self.layers[-1], features=None, dropout=0.0))

    def _unrectified_conv(self) -> bool:
        return self.linear is not None and self.linear.op_type == "Conv"

    def _name(self, kind: str) -> str:
        weighted = len(self.affine)
        return f"{kind}{weighted + 1 if kind in ('conv', 'fc') else weighted}"

    def _push(self, node: Any, layer: Layer) -> None:
        try:
            check(layer)
        except ValueError as error:
            refuse(node, str(error))
        self.layers.append(layer)

    def _stored(self, node: Any, number: int) -> Tensor | None:
        """An input that is stored; None where it is left out."""
        name = node.input[number] if number < len(node.input) else ""
        if name and name not in self.constants:
            refuse(node, f"expected {name!r} to be stored, like weights; it is computed")
        return self.constants[name] if name else None

    def _numbers(self, node: Any, tensor: Tensor) -> list[Any]:
        """The values of a small tensor."""
        values = tensor.read().ravel()[:_NUMBER_LIMIT]
        if not (values.size and jnp.issubdtype(values.dtype, jnp.number)):
            refuse(node, f"expected numbers in {tensor.name!r}")
        return values.tolist()

    def _weights(self, node: Any) -> Tensor:
        kernel = self._stored(node, 1)
        if kernel is None or len(kernel.shape) != (4 if node.op_type == "Conv" else 2):
            refuse(node, f"expected a kernel; it is {kernel and kernel.shape}")
        return kernel

    def _conv(self, node: Any, attributes: dict[str, Any]) -> None:
        kernel = self._weights(node)
        attributes.setdefault("kernel_shape", kernel.shape[2:])
        window = self._window(node, attributes)
        layer = Conv(self._name("conv"), kernel.shape[0], *window)
        self._push(node, layer)
        self.affine[layer.name] = Affine(kernel, self._stored(node, 2), attributes.get("group", 1))
        self.size, self.maps = output_size(layer, self.size), layer.features
        self.linear = node

    def _max_pool(self, node: Any, attributes: dict[str, Any]) -> None:
        layer = MaxPool(self._name("pool"), *self._window(node, attributes))
        self._push(node, layer)
        self.size = output_size(layer, self.size)

    def _window(self, node: Any, attributes: dict[str, Any]) -> tuple[int, int, int, Rounding]:
        """Size, stride, padding and rounding that give the node's windows."""
        if self.flat:
            refuse(node, "expected maps below it, not a dense layer")
        sizes, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        dilations = attributes.get("dilations", [1, 1])
        if len(set(sizes)) > 1 or len(set(strides)) > 1 or set(dilations) != {1}:
            refuse(
                node,
                f"window {sizes}, strides {strides}, dilations {dilations}: expected a square "
                "window, one stride, no dilation",
            )
        size, stride = sizes[0], strides[0]
        if min(size, stride) < 1:
            refuse(node, f"window {sizes}, strides {strides}: expected 1 or more")
        top, left, bottom, right = self._pads(node, attributes, size, stride)
        room = self.size + top + bottom - size
        ceil = bool(attributes.get("ceil_mode", 0))
        count = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (count - 1) * stride >= self.size + top:
            count -= 1  # a window that starts in the padding is none
        roundings: list[Rounding] = ["up", "down"] if ceil else ["down", "up"]
        for rounding in roundings:
            window = MaxPool("", size, stride, top, rounding)
            if (top, bottom) == (left, right) and output_size(window, self.size) == count:
                return size, stride, top, rounding
        refuse(
            node,
            f"pads {[top, left, bottom, right]} around maps of {self.size}: expected the same for "
            "rows and columns, and after a map as many as before it, but for a last window that "
            "reaches further or is left out",
        )

    def _pads(self, node: Any, attributes: dict[str, Any], size: int, stride: int) -> list[int]:
        """Top, left, bottom and right."""
        auto = attributes.get("auto_pad", b"NOTSET").decode("utf-8", "replace")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-self.size // stride) - 1) * stride + size - self.size, 0)
            less, more = total // 2, total - total // 2
            return [less, less, more, more] if auto == "SAME_UPPER" else [more, more, less, less]
        if auto not in ("NOTSET", "VALID"):
            refuse(node, f"auto_pad {auto}: expected one that ONNX has")
        return list(attributes.get("pads", [0] * 4)) if auto == "NOTSET" else [0] * 4

    def _norm(self, node: Any, attributes: dict[str, Any]) -> None:
        if self.flat:
            refuse(node, "expected maps below it, not a dense layer")
        defaults = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
        alpha, beta, k = (as_written(attributes.get(*default)) for default in defaults.items())
        self._push(node, ContrastNorm(self._name("norm"), attributes["size"], alpha, beta, k))

    def _relu(self, node: Any, attributes: dict[str, Any]) -> None:
        if self.linear is None:
            refuse(node, "expected directly behind a convolution or a dense layer")
        if isinstance(self.layers[-1], Dense):
            self.layers[-1] = replace(self.layers[-1], relu=True)
        self.linear = None

    def _gemm(self, node: Any, attributes: dict[str, Any]) -> None:
        factors = {"alpha": attributes.get("alpha", 1.0), "beta": attributes.get("beta", 1.0)}
        if attributes.get("transA") or any(factor != 1 for factor in factors.values()):
            refuse(node, f"transA {attributes.get('transA', 0)}, {factors}: expected 0, and both 1")
        self._dense(node, self._stored(node, 2), inputs_first=not attributes.get("transB"))

    def _matmul(self, node: Any, attributes: dict[str, Any]) -> None:
        self._dense(node, None, inputs_first=True)

    def _dense(self, node: Any, bias: Tensor | None, inputs_first: bool) -> None:
        if not self.flat:
            refuse(node, "expected a Flatten below it")
        affine = Affine(self._weights(node), bias, inputs_first=inputs_first)
        layer = Dense(self._name("fc"), affine.features, relu=False, dropout=0.0)
        self._push(node, layer)
        self.affine[layer.name] = affine
        self.maps, self.linear = layer.features or 0, node

    def _add(self, node: Any, attributes: dict[str, Any]) -> None:
        bias = self._stored(node, 1) if node.input[1] in self.constants else self._stored(node, 0)
        if self.linear is None or self.linear.op_type != "MatMul" or bias is None:
            refuse(node, "expected the bias of a MatMul")
        name = self.layers[-1].name
        if self.affine[name].bias is not None:
            refuse(node, "expected one bias")
        self.affine[name] = self.affine[name]._replace(bias=bias)

    def _flatten(self, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("axis", 1) != 1:
            refuse(node, f"axis {attributes['axis']}: expected 1")
        self._flat()

    def _reshape(self, node: Any, attributes: dict[str, Any]) -> None:
        stored = self._stored(node, 1)
        shape = attributes.get("shape", []) if stored is None else self._numbers(node, stored)
        features = self.maps if self.flat else self.maps * self.size**2
        whole = len(shape) == 2 and shape[0] in (-1, 0, 1, self.batch)
        if not whole or shape[1] not in (-1, features):
            refuse(node, f"to {shape}: expected one row, {features} long, for each picture")
        self._flat()

    def _flat(self) -> None:
        if not self.flat:
            self.flat, self.maps = True, self.maps * self.size**2

    def _dropout(self, node: Any, attributes: dict[str, Any]) -> None:
        stored = self._stored(node, 1)
        ratio = attributes.get("ratio", 0.5) if stored is None else self._numbers(node, stored)[0]
        if self.layers and isinstance(self.layers[-1], Dense):
            self._push(node, replace(self.layers.pop(), dropout=as_written(ratio)))

    def _average(self, node: Any, attributes: dict[str, Any]) -> None:
        same = all(set(attributes.get(name, [1])) == {1} for name in ("kernel_shape", "strides"))
        if node.op_type == "GlobalAveragePool":
            same = self.size == 1
        if not same or any(attributes.get("pads", [0])):
            refuse(node, "expected max pooling, or an average of single pixels")

    def _end(self, node: Any, attributes: dict[str, Any]) -> None:
        if not self.flat or attributes.get("axis", 1) not in (1, -1):
            refuse(node, f"axis {attributes.get('axis', 1)}: expected one over the classes")
        self.softmax = node
