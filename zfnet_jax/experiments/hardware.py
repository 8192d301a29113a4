"""The hardware that an experiment ran on, in words, for the files that hold its times."""

import itertools
import platform
from pathlib import Path

import jax

from zfnet_jax.core.devices import processors


def in_words() -> str:
    """The devices, the processors that this process may use, and JAX's version, in one line."""
    devices = jax.devices()
    name = processor_name() if devices[0].platform == "cpu" else devices[0].device_kind
    count = f"{len(devices)} x " if len(devices) > 1 else ""
    return f"{count}{name}, {processors()} processors, jax {jax.__version__}"


def processor_name() -> str:
    """The processor's name, as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        with info.open() as lines:
            for line in itertools.islice(lines, 100):
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
