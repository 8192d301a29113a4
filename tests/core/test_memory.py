"""Freed memory stays with the process, where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
from zfnet_jax.core.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"1" * 2**26  # more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = faults()
keep_freed_memory()
faults()
print(returned, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_large_buffers_are_not_asked_for_again():
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    returned, kept = map(int, run.stdout.split())
    assert returned > 100  # with huge pages; 160,000 without
    assert kept < returned / 10
