"""From a source to batches of frames, read by threads, in an order that the seed alone decides.

The order of a run is arithmetic: which pictures step k sees follows from the seed and k. So the
data position of a run is its step, each process reads its rows of a batch, and nothing depends on
the number of threads. What is random about a picture (crop, flip) is drawn on the device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from zfnet_jax.core import signals
from zfnet_jax.core.devices import processors
from zfnet_jax.data.decode import decode
from zfnet_jax.data.source import Source

GIB = 2**30


class Batch(NamedTuple):
    """Decoded frames and their labels.

    Attributes:
      frames: (N, frame, frame, 3) uint8, raw.
      labels: (N,) int32; -1 for a row that only fills the batch.
    """

    frames: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The decoded frames of a source, kept in memory where all of them fit.

    Attributes:
      source: the pictures.
      size: width and height of a frame, in pixels.
      memory: (N, size, size, 3) uint8, filled as frames are read, or None.
      cached_labels: (N,) int32, the labels of the frames in memory, -1 elsewhere.
    """

    source: Source
    size: int
    memory: np.ndarray | None
    cached_labels: np.ndarray

    @classmethod
    def of(cls, source: Source, size: int, cache_gib: float) -> "ImageSet":
        """A set whose frames stay in memory if all of them take `cache_gib` GiB at most."""
        shape = (len(source), size, size, 3)
        fits = np.prod(shape, dtype=float) <= cache_gib * GIB
        memory = np.empty(shape, np.uint8) if fits else None
        return cls(source, size, memory, np.full(len(source), -1, np.int32))

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """One frame and its label; ValueError names the picture that cannot be read."""
        if self.memory is not None and self.cached_labels[index] >= 0:
            return self.memory[index], int(self.cached_labels[index])
        image, label, name = self.source[index]
        try:
            frame = decode(image, self.size)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if self.memory is not None:
            self.memory[index] = frame
            self.cached_labels[index] = label  # last, since other threads take it as the sign
        return frame, label

    def batch(self, items: np.ndarray) -> Batch:
        """The frames and labels of some items, (N,) int."""
        frames, labels = zip(*(self.read(int(item)) for item in items), strict=True)
        return Batch(np.stack(frames), np.array(labels, np.int32))


def epoch_order(labels: np.ndarray | int, seed: int, epoch: int) -> np.ndarray:
    """The order in which one epoch sees the items.

    Args:
      labels: how many items there are, for every item once; or their labels, (N,) int, for every
        class as often as any other, to one.
      seed: of the run.
      epoch: counted from 0.

    Returns:
      (N,) int64, item numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    if isinstance(labels, int):
        return rng.permutation(labels)
    classes = np.unique(labels)
    turns = np.resize(rng.permutation(len(classes)), len(labels))
    order = np.empty(len(labels), np.int64)
    for turn, label in enumerate(classes):
        (items,), (positions,) = np.nonzero(labels == label), np.nonzero(turns == turn)
        rounds = -(-len(positions) // len(items))
        drawn = np.concatenate([rng.permutation(items) for _ in range(rounds)])
        order[positions] = drawn[: len(positions)]
    return rng.permutation(order)


def train_batches(
    frames: ImageSet,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    balanced: bool = False,
    threads: int = 0,
    rows: slice = slice(None),
) -> Iterator[Batch]:
    """The batches of a run from one step on, without end.

    An epoch is as many whole batches as the items allow; what is left over differs by epoch.

    Args:
      frames: the training frames, at least `batch_size`.
      batch_size: examples a step, over all processes.
      seed: of the run.
      first_step: the step to begin at.
      balanced: every class equally often rather than every item.
      threads: how many decode; 0 for one per processor.
      rows: which rows of each batch this process reads.

    Returns:
      An iterator of batches.

    Raises:
      ValueError: there are fewer items than a batch has.
    """
    steps = steps_per_epoch(len(frames), batch_size)
    labels = frames.source.labels if balanced else len(frames)

    @lru_cache(maxsize=2)  # threads near the end of an epoch read into the next
    def order(epoch: int) -> np.ndarray:
        return epoch_order(labels, seed, epoch)

    def read(step: int) -> Batch:
        epoch, number = divmod(step, steps)
        return frames.batch(order(epoch)[number * batch_size : (number + 1) * batch_size][rows])

    return _in_threads(read, range(first_step, 2**31), threads)


def all_batches(
    frames: ImageSet,
    *,
    batch_size: int,
    items: np.ndarray | None = None,
    threads: int = 0,
    rows: slice = slice(None),
) -> Iterator[Batch]:
    """Items once each; the last batch is filled up with rows of label -1.

    Args:
      frames: the frames.
      items: which items, (M,) int, in their order; None for all.
      batch_size: examples a batch, over all processes.
      threads: how many decode; 0 for one per processor.
      rows: which rows of each batch this process reads.

    Returns:
      An iterator of batches, all of one shape.
    """

    chosen = np.arange(len(frames)) if items is None else items

    def read(number: int) -> Batch:
        positions = np.arange(number * batch_size, (number + 1) * batch_size)[rows]
        batch = frames.batch(chosen[positions.clip(max=len(chosen) - 1)])
        return batch._replace(labels=np.where(positions < len(chosen), batch.labels, -1))

    return _in_threads(read, range(-(-len(chosen) // batch_size)), threads)


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """How many whole batches an epoch has; ValueError where there is not one."""
    if examples < batch_size:
        raise ValueError(
            f"batch size {batch_size}: expected at most the {examples} training images"
        )
    return examples // batch_size


def _in_threads(read: Callable[[int], Batch], numbers: range, threads: int) -> Iterator[Batch]:
    import grain  # slow to import

    threads = threads or processors()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=min(threads + 2, 32))
    numbered = grain.MapDataset.range(numbers.start, numbers.stop).map(read)
    batches = iter(numbered.to_iter_dataset(options))
    while True:
        signals.check()
        try:
            yield next(batches)
        except StopIteration:
            return
