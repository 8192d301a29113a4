"""Settings of every test, and the tiny net that most numerical tests share."""

import atexit
import ctypes
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.tree_util import Partial

from zfnet_jax.commands import command_line, train
from zfnet_jax.core import signals
from zfnet_jax.networks.function import forward_of
from zfnet_jax.zfnet.architecture import Architecture, ContrastNorm, Conv, Dense, MaxPool
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Params, Trace

jax.config.update("jax_num_cpu_devices", 8)

# A program compiles once for all workers and for the commands that they run: the first process to
# load this module makes the folder, the others inherit its name.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="zfnet_jax-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

hypothesis.settings.register_profile(
    "zfnet_jax", deadline=None, max_examples=25, derandomize=True, database=None
)
hypothesis.settings.load_profile("zfnet_jax")

ROOT = Path(__file__).resolve().parents[1]

TINY = Architecture(
    name="tiny",
    layers=(
        Conv("conv1", features=6, size=5),
        MaxPool("pool1"),
        ContrastNorm("norm1", alpha=1.0),
        Conv("conv2", features=8, size=3, stride=2),
        ContrastNorm("norm2", size=3, alpha=0.5, beta=0.5, k=1.0),
        Conv("conv3", features=7, size=3, padding=1),
        MaxPool("pool3", padding=1, rounding="down"),
        Dense("fc4", features=16),
        Dense("fc5", features=None, relu=False, dropout=0.0),
    ),
    input_size=32,
)
"""All kinds of layers, both roundings, padding, a stride; maps of 28, 14, 7 and 4 pixels.

Its norms are strong, so that leaving one out shows.
"""

CLASSES = 7


_enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Lets JAX compute in "float32", as it does by default, or in "float64"."""
    if dtype == "float32":
        yield
    else:
        with _enable_x64(True):
            yield


class Case(NamedTuple):
    """A net and what it made of a batch of images."""

    arch: Architecture
    model: ZFNet
    params: Params
    images: Array
    logits: Array
    trace: Trace


def random_params(arch: Architecture, num_classes: int, seed: int = 0) -> Params:
    """He-initialised kernels and biases that are not zero, so that a leaking bias shows."""
    rng = np.random.default_rng(seed)
    params: Params = {}
    for name, shape in arch.kernel_shapes(num_classes).items():
        kernel = rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        bias = rng.normal(0, 0.1, shape[-1:])
        params[name] = {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}
    return params


def make_case(arch: Architecture, num_classes: int, images: int, seed: int = 0) -> Case:
    """A random net, random images, and their trace."""
    size = arch.input_size
    model, params = ZFNet(arch, num_classes), random_params(arch, num_classes, seed)
    x = jnp.float32(np.random.default_rng(seed + 1).normal(size=(images, size, size, 3)))
    logits, trace = jax.jit(model.apply)({"params": params}, x)
    return Case(arch, model, params, x, logits, trace)


@pytest.fixture(scope="session")
def tiny() -> Case:
    """The tiny net with random weights and three images."""
    return make_case(TINY, CLASSES, images=3)


def function_of(case: Case) -> Partial:
    """A net as mining and the analyses take it: images -> (logits, every layer's output)."""

    return Partial(forward_of(case.arch), case.params)


@pytest.fixture(scope="session")
def function(tiny: Case) -> Partial:
    """The tiny net as a function."""
    return function_of(tiny)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Lets go of what a module compiled, a third of a gigabyte of programs in the larger ones."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _forget_programs_in_time() -> Iterator[None]:
    """Lets go of compiled programs within a module, too, where they take most of the memory."""
    yield
    if _resident_bytes() > 800 * 2**20:
        jax.clear_caches()
        _C.malloc_trim(0)


_STATUS = Path("/proc/self/statm")
_C = ctypes.CDLL(None)


def _resident_bytes() -> int:
    """The memory of this process at the moment; 0 where the system does not say."""
    if not (_STATUS.exists() and hasattr(_C, "malloc_trim")):
        return 0
    return int(_STATUS.read_text().split()[1]) * resource.getpagesize()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells the process that the user started how much memory a worker held at its peak."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
    getattr(session.config, "workeroutput", {})["peak"] = peak


_PEAKS: dict[str, int] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes a worker's peak; one that crashed has none."""
    if hasattr(node, "workeroutput"):
        _PEAKS[node.gateway.id] = node.workeroutput["peak"]


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Prints the peaks, which are to stay under 1,500 MB."""
    if _PEAKS:
        peaks = ", ".join(f"{name} {peak:,} MB" for name, peak in sorted(_PEAKS.items()))
        terminalreporter.write_line(f"peak memory (ru_maxrss): {peaks}")


@pytest.fixture(scope="session", autouse=True)
def _cache_home(tmp_path_factory: pytest.TempPathFactory):
    """Folder scans keep their cache away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _give_freed_memory_back():
    """A command that runs in the tests' process does not let that process keep what it frees."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (command_line, train):
            patch.setattr(module, "keep_freed_memory", lambda: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Ctrl-C interrupts, as it does in a terminal; a shell's background job ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.fixture(scope="session", autouse=True)
def _unhurried():
    """A signal that a test sends to its own process does not end it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "GRACE", 3600)
        yield


@pytest.fixture(scope="module")
def main(request: pytest.FixtureRequest) -> Callable[..., None]:
    """What a command calls with its options, for a module test_NAME_command.py."""
    name = request.path.stem.removeprefix("test_").removesuffix("_command")
    return importlib.import_module(f"zfnet_jax.commands.{name}").main
