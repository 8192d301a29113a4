"""Batches of one length, so that a program compiles for one shape."""

from collections.abc import Iterator

import numpy as np


def equal_batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Cuts `count` items into batches of one length; the last batch repeats the last item.

    Args:
      count: how many items there are.
      size: how many a batch has, 1 or more.

    Yields:
      The items' numbers, (size,) int, and how many of them, from the first on, are no repetition.
    """
    for start in range(0, count, size):
        yield np.arange(start, start + size).clip(max=count - 1), min(size, count - start)


def multiple_of(size: int, devices: int) -> int:
    """The smallest batch of `size` items or more that divides into the devices."""
    return -(-size // devices) * devices
