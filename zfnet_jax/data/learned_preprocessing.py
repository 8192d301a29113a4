"""The part of the preprocessing that is learned from the training set: its mean."""

import numpy as np

from zfnet_jax.core import devices
from zfnet_jax.core.progress import tracked
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.preprocessing import PixelSums, Preprocessing, pixel_sums

MIN_STANDARD_DEVIATION = 1e-3
"""Grey levels: the first layer's weights are divided by it, and rounding alone may leave 1e-6."""


def learn_preprocessing(
    train: ImageSet, *, batch_size: int, mean_images: int, seed: int, threads: int, rows: slice
) -> tuple[Preprocessing, float]:
    """The per-pixel mean of the training set and the spread of the pixels around it.

    Zeiler & Fergus 2014, section 3. The sums are exact integers, so neither the order of the
    images nor the number of processes changes a bit.

    Args:
      train: the training images.
      batch_size: images a batch, over all processes.
      mean_images: how many images the mean is taken over, drawn by the seed; 0 for all.
      seed: of the run.
      threads: how many threads decode; 0 for one per processor.
      rows: which rows of each batch this process reads.

    Returns:
      The preprocessing, and the standard deviation of the pixels around their means.

    Raises:
      ValueError: an image cannot be read, or all images are the same.
    """
    items = np.arange(len(train))
    if mean_images:
        items = np.random.default_rng(seed).permutation(items)[:mean_images]
    batches = all_batches(train, batch_size=batch_size, items=items, threads=threads, rows=rows)
    progress = tracked(
        batches,
        "mean of the training set",
        total=-(-len(items) // batch_size),
        silent=not devices.is_first_process(),
    )
    sums = pixel_sums((batch.frames[batch.labels >= 0] for batch in progress), train.size)
    total = PixelSums(*devices.sum_over_processes(sums))
    standard_deviation = total.standard_deviation()
    if standard_deviation < MIN_STANDARD_DEVIATION:
        raise ValueError(
            f"all {total.frames} training images are the same, such as all of one colour; expected "
            "images that differ"
        )
    return Preprocessing(train.size, total.mean()), standard_deviation
