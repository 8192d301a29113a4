"""ONNX graphs: a chain of convolutions, poolings, normalisations and dense layers.

Whatever else is in a graph, and whatever this package's layers cannot express, is refused by the
name of its node. A softmax at the end is left out, since the last layer's outputs are logits; so is
dropout of maps, which has no effect outside of training.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zfnet_jax.networks.importers import onnx_file
from zfnet_jax.networks.importers.assembly import CAFFE, TORCH, Imported, Tensor, parameters
from zfnet_jax.networks.importers.onnx_nodes import Walk, refuse
from zfnet_jax.zfnet.architecture import CHANNELS, Architecture


def load(path: Path) -> Imported:
    """Reads a model.

    Args:
      path: an .onnx file of any version.

    Returns:
      The net. How pictures are prepared is not in the file: as PyTorch's if PyTorch wrote it,
      otherwise as Caffe's, like the ONNX model zoo's.

    Raises:
      ValueError: the file cannot be read, or holds what cannot be expressed or is not finite.
    """
    if not path.is_file():
        raise ValueError(f"model {path}: expected a file, there is none")
    try:
        model, constants = onnx_file.read(path)
        graph = model.graph
        size, batch, nodes = _chain(graph, constants)
        walk = Walk(constants, _opset(model), size, batch)
        for node in nodes:
            walk.take(node)
        arch = Architecture(path.stem, walk.finish(), size)
        convention = TORCH if "pytorch" in onnx_file.text(model.producer_name).lower() else CAFFE
        return Imported(arch, parameters(arch, walk.affine), convention)
    except ValueError as error:
        raise ValueError(f"model {path}: {error}") from None


def _opset(model: Any) -> int:
    """The version of ONNX's own operations that a model uses; 1 where it says none."""
    return max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=1)


def _chain(graph: Any, constants: Mapping[str, Tensor]) -> tuple[int, int, list[Any]]:
    """The size of the pictures, of their batch, and the nodes from there to the output."""
    pictures = [value for value in graph.input if value.name not in constants]
    if len(pictures) != 1:
        names = ", ".join(onnx_file.text(value.name) for value in pictures) or "none"
        raise ValueError(f"inputs {names}: expected one, the pictures")
    dims = [dim.dim_value for dim in pictures[0].type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] != CHANNELS or dims[2] != dims[3] or dims[2] < 1:
        raise ValueError(
            f"input {pictures[0].name!r} of shape {dims} (0 where it is open): expected "
            "(N, 3, size, size)"
        )
    made = Counter([pictures[0].name])
    readers = defaultdict(list)
    for number, node in enumerate(graph.node):
        if not node.output:
            refuse(node, "expected an output")
        made.update(filter(None, node.output))
        for name in node.input:
            readers[name].append(number)
    if repeated := [name for name, count in made.items() if count > 1]:
        raise ValueError(f"values {repeated}: expected each to be made once")
    numbers, current = [], pictures[0].name
    while readers[current]:
        number, *others = readers[current]
        node = graph.node[number]
        if others:
            refuse(
                graph.node[others[0]],
                f"expected one chain of layers; {current!r} goes to two nodes",
            )
        for name in node.input:
            if name and name != current and name not in constants:
                refuse(node, f"expected {name!r} to be stored, like weights; it is computed")
        numbers.append(number)
        current = node.output[0]
    chain = set(numbers)
    for number, node in enumerate(graph.node):
        if number not in chain and node.output[0] not in constants:
            refuse(node, "expected to lie between the pictures and the output")
    return dims[2], dims[0], [graph.node[number] for number in numbers]
