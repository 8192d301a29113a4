"""What becomes of the memory that a process frees."""

import ctypes
import sys

# The numbers of glibc's malloc.h, and what they are set to here.
_OPTIONS = {
    "M_ARENA_MAX": (-8, 1),  # one heap for all threads: any other has no room for large buffers
    "M_MMAP_MAX": (-4, 0),  # large buffers from that heap, not from the system
    "M_TRIM_THRESHOLD": (-1, -1),  # and never back to it
}


def keep_freed_memory() -> None:
    """Lets the process keep large buffers that it frees, on Linux with glibc; elsewhere, nothing.

    Otherwise each step of a computation on a CPU returns its buffers to the system and is given
    them again page by page, filled with zeros. The price is a higher peak, since a heap with holes
    never shrinks. To be called before JAX has started its threads.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for option, value in _OPTIONS.values():
            mallopt(option, value)
