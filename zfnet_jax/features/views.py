"""The raw pictures of an image set in batches, each with its number, as mining takes them."""

from collections.abc import Iterator

import jax
import numpy as np

from zfnet_jax.core.batches import multiple_of
from zfnet_jax.data.pipeline import ImageSet, all_batches


def whole_batch(image_set: ImageSet, batch_size: int) -> int:
    """The size of a batch: not more than there are pictures, and a multiple of the devices."""
    return multiple_of(min(batch_size, len(image_set)), jax.local_device_count())


def numbered_batches(
    image_set: ImageSet, batch_size: int, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The raw pictures from a number on, in batches of one size.

    Args:
      image_set: the pictures.
      batch_size: pictures a batch.
      first: the number of the first picture.

    Yields:
      The pictures, (batch_size, frame, frame, 3) uint8; their numbers, -1 for rows that only fill
      the last batch; their labels.
    """
    items = np.arange(first, len(image_set))
    for batch in all_batches(image_set, batch_size=batch_size, items=items):
        numbers = first + np.arange(batch_size)
        yield batch.frames, np.where(numbers < len(image_set), numbers, -1), batch.labels
        first += batch_size
