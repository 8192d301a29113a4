"""How long an import takes, and how much memory, in multiples of the file's size.

    python benchmarks/import_weights.py

Makes files of pytorchcv's zfnet, 62 million random weights, and imports each in a process of its
own with tools/import_weights.py. Prints the machine, and for each kind of file the median of the
seconds, the start of Python among them, and the peak of the resident memory: all of it, and what is
on top of a process that has only loaded the packages.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from timing import describe_machine

from zfnet_jax.commands import command_line
from zfnet_jax.networks.importers.torch import FAMILIES, Family

ROOT = Path(__file__).resolve().parents[1]
TOOL = "tools/import_weights.py"

# VmHWM, since ru_maxrss begins with what the parent had when it started the process.
_PEAK = """
import runpy, sys
package = sys.argv.pop(1)
if package:
    __import__(package)
if len(sys.argv) > 2:
    sys.argv.pop(0)
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    from zfnet_jax.networks import weights
    from zfnet_jax.networks.importers import onnx, torch
status = open("/proc/self/status").read()
print(status.split("VmHWM:")[1].split()[0])
"""


def main(rounds: int = 3) -> None:
    """Import a file of each kind.

    Example: python benchmarks/import_weights.py

    Args:
      rounds: imports of each file.
    """
    command_line.expect("rounds", rounds, rounds >= 1, "1 or more")
    print(describe_machine(["onnx", "torch", "safetensors", "jax"]))
    print(f"{'':12}  {'seconds':>7}  {'peak':>5}  {'over packages':>13}  (in file sizes)")
    with tempfile.TemporaryDirectory() as folder:
        for kind, package, path in _files(Path(folder)):
            size = path.stat().st_size
            out = Path(folder, "out.safetensors")
            given = ("--from", "onnx" if kind == ".onnx" else "torch", path, "--out", out)
            bare = _run(package)[1]
            runs = [_run(package, TOOL, *given) for _ in range(rounds)]
            seconds = statistics.median(each[0] for each in runs)
            peak = max(each[1] for each in runs)
            print(f"{kind:12}  {seconds:7.1f}  {peak / size:5.2f}  {(peak - bare) / size:13.2f}")
            path.unlink()


def _run(package: str, *arguments: Any) -> tuple[float, int]:
    """The seconds and the peak memory, in bytes, of a process."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, package, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, 1024 * int(done.stdout.split()[-1])


def _files(folder: Path) -> list[tuple[str, str, Path]]:
    """Kind, the package that reads it, and path."""
    family = next(each for each in FAMILIES if each.architecture.name == "pytorchcv zfnet")
    tensors = _tensors(family)
    paths = [folder / f"net{kind}" for kind in (".onnx", ".pth", ".safetensors")]
    onnx.save(_model(family, tensors), paths[0])
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, paths[1])
    save_file(tensors, paths[2])
    packages = ("onnx", "", "")
    return [(path.suffix, package, path) for package, path in zip(packages, paths, strict=True)]


def _tensors(family: Family) -> dict[str, np.ndarray]:
    rng, tensors = np.random.default_rng(0), {}
    for layer, shape in family.architecture.kernel_shapes().items():
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        for kind, form in (("weight", shape), ("bias", shape[:1])):
            values = rng.standard_normal(form, np.float32) / 50
            tensors[f"{family.modules[layer]}.{kind}"] = values
    return tensors


def _model(family: Family, tensors: dict[str, np.ndarray]) -> Any:
    nodes: list[Any] = []

    def add(op: str, *weights: str, **attributes: Any) -> None:
        source = f"t{len(nodes) - 1}" if nodes else "x"
        nodes.append(helper.make_node(op, [source, *weights], [f"t{len(nodes)}"], **attributes))

    def weights(layer: str) -> list[str]:
        return [f"{family.modules[layer]}.{kind}" for kind in ("weight", "bias")]

    for number, (stride, padding, pool) in enumerate(
        ((2, 1, True), (2, 0, True), (1, 1, False), (1, 1, False), (1, 1, True)), start=1
    ):
        add("Conv", *weights(f"conv{number}"), strides=[stride] * 2, pads=[padding] * 4)
        add("Relu")
        if pool:
            add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    add("Flatten")
    for number in (6, 7, 8):
        add("Gemm", *weights(f"fc{number}"), transB=1)
        if number < 8:
            add("Relu")
    values = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 224, 224]), (nodes[-1].output[0], [1, 1000]))
    ]
    graph = helper.make_graph(nodes, "zfnet", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)


if __name__ == "__main__":
    command_line.run(main)
