"""What each node of an ONNX graph means as a layer of this package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from zfnet_jax.core.extras import import_extra
from zfnet_jax.networks.importers.assembly import Affine, Tensor
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


def refuse(node: Any, reason: str) -> NoReturn:
    """Raises ValueError with a node's name, or its output's, and its operation."""
    raise ValueError(f"node {node.name or node.output[0]!r} ({node.op_type}): {reason}")


@dataclass
class Walk:
    """The layers so far, and the shape that the next node sees."""

    constants: Mapping[str, Tensor]
    size: int
    batch: int
    maps: int = CHANNELS
    flat: bool = False
    layers: list[Layer] = field(default_factory=list)
    affine: dict[str, Affine] = field(default_factory=dict)
    linear: Any = None  # a node that has had no ReLU and no dropout yet
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
            "Identity": lambda node, given: None,
            "AveragePool": self._average,
            "GlobalAveragePool": self._average,
        }
        if node.op_type not in known or node.domain not in ("", "ai.onnx"):
            refuse(node, f"expected one of {', '.join(known)}")
        if node.op_type not in ("Relu", "Identity", "Dropout") and self._unrectified_conv():
            refuse(self.linear, "expected a Relu behind a convolution")
        value = import_extra("onnx", "import").helper.get_attribute_value
        try:
            known[node.op_type](node, {each.name: value(each) for each in node.attribute})
        except (AttributeError, LookupError, TypeError, ZeroDivisionError) as error:
            # An attribute or an input that ONNX requires is missing, or of another kind.
            refuse(node, f"expected what ONNX says of such a node ({error!r})")

    def finish(self) -> tuple[Layer, ...]:
        """All layers, the last of which gives the logits."""
        if not self.layers or not isinstance(self.layers[-1], Dense) or self.layers[-1].relu:
            found = self.layers[-1] if self.layers else "nothing"
            raise ValueError(f"expected the last layer to be dense, without a Relu; it is {found}")
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

    def _stored(self, node: Any, place: int) -> Tensor | None:
        """An input that is stored; None where it is left out."""
        name = node.input[place] if place < len(node.input) else ""
        if name and name not in self.constants:
            refuse(node, f"expected {name!r} to be stored, like weights; it is computed")
        return self.constants[name] if name else None

    def _weights(self, node: Any) -> Tensor:
        kernel = self._stored(node, 1)
        if kernel is None or len(kernel.shape) != (4 if node.op_type == "Conv" else 2):
            refuse(node, f"expected a kernel; it is {kernel and kernel.shape}")
        return kernel

    def _conv(self, node: Any, given: dict[str, Any]) -> None:
        kernel = self._weights(node)
        given.setdefault("kernel_shape", kernel.shape[2:])
        window = self._window(node, given)
        layer = Conv(self._name("conv"), kernel.shape[0], *window)
        self._push(node, layer)
        self.affine[layer.name] = Affine(kernel, self._stored(node, 2), given.get("group", 1))
        self.size, self.maps = output_size(layer, self.size), layer.features
        self.linear = node

    def _max_pool(self, node: Any, given: dict[str, Any]) -> None:
        layer = MaxPool(self._name("pool"), *self._window(node, given))
        self._push(node, layer)
        self.size = output_size(layer, self.size)

    def _window(self, node: Any, given: dict[str, Any]) -> tuple[int, int, int, Rounding]:
        """Size, stride, padding and rounding that give the node's windows."""
        if self.flat:
            refuse(node, "expected maps below it, not a dense layer")
        sizes, strides = given["kernel_shape"], given.get("strides", [1, 1])
        dilations = given.get("dilations", [1, 1])
        if len(set(sizes)) > 1 or len(set(strides)) > 1 or set(dilations) != {1}:
            refuse(
                node,
                f"window {sizes}, strides {strides}, dilations {dilations}: expected a square "
                "window, one stride, no dilation",
            )
        size, stride = sizes[0], strides[0]
        top, left, bottom, right = self._pads(node, given, size, stride)
        room = self.size + top + bottom - size
        ceil = bool(given.get("ceil_mode", 0))
        count = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (count - 1) * stride >= self.size + top:
            count -= 1  # a window that starts in the padding is none
        roundings: list[Rounding] = ["up", "down"] if ceil else ["down", "up"]
        for rounding in roundings:
            here = MaxPool("", size, stride, top, rounding)
            if (top, bottom) == (left, right) and output_size(here, self.size) == count:
                return size, stride, top, rounding
        refuse(
            node,
            f"pads {[top, left, bottom, right]} around maps of {self.size}: expected the same for "
            "rows and columns, and after a map as many as before it, but for a last window that "
            "reaches further or is left out",
        )

    def _pads(self, node: Any, given: dict[str, Any], size: int, stride: int) -> list[int]:
        """Top, left, bottom and right."""
        auto = given.get("auto_pad", b"NOTSET").decode()
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-self.size // stride) - 1) * stride + size - self.size, 0)
            less, more = total // 2, total - total // 2
            return [less, less, more, more] if auto == "SAME_UPPER" else [more, more, less, less]
        if auto not in ("NOTSET", "VALID"):
            refuse(node, f"auto_pad {auto}: expected one that ONNX has")
        return list(given.get("pads", [0] * 4)) if auto == "NOTSET" else [0] * 4

    def _norm(self, node: Any, given: dict[str, Any]) -> None:
        if self.flat:
            refuse(node, "expected maps below it, not a dense layer")
        alpha, beta, k = given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)
        # A float32 of the file as the number that was meant: 0.0005, not 0.0005000000237.
        alpha, beta, k = (float(f"{each:.7g}") for each in (alpha, beta, k))
        self._push(node, ContrastNorm(self._name("norm"), given["size"], alpha, beta, k))

    def _relu(self, node: Any, given: dict[str, Any]) -> None:
        if self.linear is None:
            refuse(node, "expected directly behind a convolution or a dense layer")
        if isinstance(self.layers[-1], Dense):
            self.layers[-1] = replace(self.layers[-1], relu=True)
        self.linear = None

    def _gemm(self, node: Any, given: dict[str, Any]) -> None:
        factors = {"alpha": given.get("alpha", 1.0), "beta": given.get("beta", 1.0)}
        if given.get("transA") or any(factor != 1 for factor in factors.values()):
            refuse(node, f"transA {given.get('transA', 0)}, {factors}: expected 0, and both 1")
        self._dense(node, self._stored(node, 2), inputs_first=not given.get("transB"))

    def _matmul(self, node: Any, given: dict[str, Any]) -> None:
        self._dense(node, None, inputs_first=True)

    def _dense(self, node: Any, bias: Tensor | None, inputs_first: bool) -> None:
        if not self.flat:
            refuse(node, "expected a Flatten below it")
        affine = Affine(self._weights(node), bias, inputs_first=inputs_first)
        layer = Dense(self._name("fc"), affine.features, relu=False, dropout=0.0)
        self._push(node, layer)
        self.affine[layer.name] = affine
        self.maps, self.linear = layer.features or 0, node

    def _add(self, node: Any, given: dict[str, Any]) -> None:
        bias = self._stored(node, 1) if node.input[1] in self.constants else self._stored(node, 0)
        if self.linear is None or self.linear.op_type != "MatMul" or bias is None:
            refuse(node, "expected the bias of a MatMul")
        name = self.layers[-1].name
        if self.affine[name].bias is not None:
            refuse(node, "expected one bias")
        self.affine[name] = self.affine[name]._replace(bias=bias)

    def _flatten(self, node: Any, given: dict[str, Any]) -> None:
        if given.get("axis", 1) != 1:
            refuse(node, f"axis {given['axis']}: expected 1")
        self._flat()

    def _reshape(self, node: Any, given: dict[str, Any]) -> None:
        stored = self._stored(node, 1)
        shape = given["shape"] if stored is None else stored.read().tolist()
        features = self.maps if self.flat else self.maps * self.size**2
        whole = len(shape) == 2 and shape[0] in (-1, 0, 1, self.batch)
        if not whole or shape[1] not in (-1, features):
            refuse(node, f"to {shape}: expected one row, {features} long, for each picture")
        self._flat()

    def _flat(self) -> None:
        if not self.flat:
            self.flat, self.maps = True, self.maps * self.size**2

    def _dropout(self, node: Any, given: dict[str, Any]) -> None:
        stored = self._stored(node, 1)
        ratio = given.get("ratio", 0.5) if stored is None else float(stored.read())
        if self.layers and isinstance(self.layers[-1], Dense):
            self._push(node, replace(self.layers.pop(), dropout=float(f"{ratio:.7g}")))

    def _average(self, node: Any, given: dict[str, Any]) -> None:
        same = all(set(given.get(name, [1])) == {1} for name in ("kernel_shape", "strides"))
        if node.op_type == "GlobalAveragePool":
            same = self.size == 1
        if not same or any(given.get("pads", [0])):
            refuse(node, "expected max pooling, or an average of single pixels")

    def _end(self, node: Any, given: dict[str, Any]) -> None:
        if not self.flat or given.get("axis", 1) not in (1, -1):
            refuse(node, f"axis {given.get('axis', 1)}: expected one over the classes")
        self.softmax = node
