import itertools
from collections.abc import Iterable, Iterator
from threading import Lock

import numpy as np
import pytest

from zfnet_jax.data.pipeline import (
    Batch,
    ImageSet,
    all_batches,
    epoch_order,
    steps_per_epoch,
    train_batches,
)
from zfnet_jax.data.source import Example

SIZE = 4


class Numbers:
    """A source whose item i is a picture of the colour i; class c has `sizes[c]` items."""

    def __init__(self, *sizes: int) -> None:
        self.class_names = tuple(f"class{label}" for label in range(len(sizes)))
        self.labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self.reads: list[int] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        with self._lock:
            self.reads.append(index)
        image = np.full((SIZE, SIZE, 3), index, np.uint8)
        return Example(image, int(self.labels[index]), f"number {index}")


def frames_of(*sizes: int, cache_gib: float = 1.0) -> ImageSet:
    return ImageSet.of(Numbers(*sizes), SIZE, cache_gib)


def items(batch: Batch) -> list[int]:
    """Which items a batch's frames show."""
    assert batch.frames.shape == (len(batch.labels), SIZE, SIZE, 3)
    assert batch.frames.dtype == np.uint8
    assert batch.labels.dtype == np.int32
    for frame in batch.frames:
        assert np.all(frame == frame[0, 0, 0])
    return batch.frames[:, 0, 0, 0].tolist()


def flat(batches: Iterable[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def take(batches: Iterator[Batch], count: int) -> list[list[int]]:
    return [items(batch) for batch in itertools.islice(batches, count)]


def order_of(count: int, frames: ImageSet | None = None, **options) -> list[list[int]]:
    """The items of a run's first batches."""
    defaults = {"batch_size": 6, "seed": 5}
    return take(train_batches(frames or frames_of(20, 6), **(defaults | options)), count)


# Training


def test_the_order_is_the_epoch_s_permutation():
    order = np.concatenate(
        [epoch_order(26, seed=5, epoch=epoch)[:24].reshape(4, 6) for epoch in range(3)]
    )
    assert order_of(12) == order.tolist()


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_order_does_not_depend_on_the_threads(threads, balanced):
    assert order_of(9, threads=threads, balanced=balanced) == order_of(9, balanced=balanced)


@pytest.mark.parametrize("first", [1, 3, 4, 7])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_order_does_not_depend_on_where_it_starts(first, balanced):
    whole = order_of(12, balanced=balanced)
    assert order_of(12 - first, balanced=balanced, first_step=first) == whole[first:]


def test_the_order_differs_by_seed_and_by_epoch():
    assert order_of(4, seed=6) != order_of(4)
    whole = order_of(8)
    assert whole[:4] != whole[4:]


@pytest.mark.parametrize("balanced", [False, True])
def test_the_rows_of_the_processes_join_to_the_batch(balanced):
    parts = [
        order_of(9, balanced=balanced, rows=slice(start, start + 2)) for start in range(0, 6, 2)
    ]
    joined = [first + second + third for first, second, third in zip(*parts, strict=True)]
    assert joined == order_of(9, balanced=balanced)


def test_an_epoch_shows_every_item_once():
    for epoch in range(3):
        shown = order_of(4, frames_of(20, 4), first_step=4 * epoch)
        assert sorted(flat(shown)) == list(range(24))


def test_what_is_left_over_differs_by_epoch():
    epochs = [flat(order_of(4, first_step=4 * epoch)) for epoch in range(6)]
    left_over = [frozenset(range(26)) - set(shown) for shown in epochs]
    assert {len(left) for left in left_over} == {2}
    assert len(set(left_over)) > 1


def test_labels_belong_to_their_frames():
    source = Numbers(20, 6)
    batches = train_batches(ImageSet.of(source, SIZE, 1.0), batch_size=6, seed=0)
    for batch in itertools.islice(batches, 4):
        assert batch.labels.tolist() == source.labels[items(batch)].tolist()


def test_a_balanced_epoch_shows_every_class_equally_often():
    labels = Numbers(20, 3, 1, 7).labels
    for epoch in range(5):
        order = epoch_order(labels, seed=1, epoch=epoch)
        assert len(order) == 31
        classes = np.bincount(labels[order])
        assert classes.max() - classes.min() <= 1
        for label in range(4):
            times = np.bincount(order, minlength=31)[labels == label]
            assert times.max() - times.min() <= 1
    assert epoch_order(labels, 1, 0).tolist() != epoch_order(labels, 1, 1).tolist()


def test_which_classes_come_once_more_differs_by_epoch():
    labels = Numbers(20, 3, 1, 7).labels
    more = {
        tuple(np.flatnonzero(np.bincount(labels[epoch_order(labels, 1, epoch)]) == 8))
        for epoch in range(8)
    }
    assert len(more) > 1


def test_a_class_without_items_is_no_class_of_a_balanced_epoch():
    labels = np.int32([0, 0, 0, 2])
    assert np.bincount(labels[epoch_order(labels, 0, 0)]).tolist() == [2, 0, 2]


@pytest.mark.parametrize(("examples", "steps"), [(6, 1), (11, 1), (12, 2)])
def test_an_epoch_is_as_many_whole_batches_as_there_are(examples, steps):
    assert steps_per_epoch(examples, 6) == steps


def test_fewer_items_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch size 6: expected at most the 5 training images"):
        train_batches(frames_of(5), batch_size=6, seed=0)


# Every item once


@pytest.mark.parametrize("threads", [1, 3])
def test_all_items_once_and_the_last_batch_filled_up(threads):
    batches = list(all_batches(frames_of(8, 2), batch_size=4, threads=threads))
    assert [batch.labels.tolist() for batch in batches] == [
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 1, -1, -1],
    ]
    shown = [items(batch) for batch in batches]
    assert flat(shown)[:10] == list(range(10))
    assert {len(batch) for batch in shown} == {4}


def test_a_whole_number_of_batches_is_not_filled_up():
    batches = list(all_batches(frames_of(8), batch_size=4))
    assert [items(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert all(np.all(batch.labels == 0) for batch in batches)


def test_chosen_items_in_their_order():
    batches = list(all_batches(frames_of(8, 2), batch_size=4, items=np.array([9, 2, 2, 0, 8])))
    assert flat(map(items, batches))[:5] == [9, 2, 2, 0, 8]
    assert [batch.labels.tolist() for batch in batches] == [[1, 0, 0, 0], [1, -1, -1, -1]]


def test_processes_see_every_item_once_even_where_one_has_none_of_the_last_batch():
    parts = [
        list(all_batches(frames_of(8, 2), batch_size=4, rows=rows))
        for rows in (slice(0, 2), slice(2, 4))
    ]
    assert [len(part) for part in parts] == [3, 3]
    assert parts[1][2].labels.tolist() == [-1, -1]
    seen = [
        item
        for batch in itertools.chain(*parts)
        for item, label in zip(items(batch), batch.labels, strict=True)
        if label >= 0
    ]
    assert sorted(seen) == list(range(10))


# Decoded frames in memory


def test_the_cache_changes_nothing():
    assert order_of(9, frames_of(20, 6, cache_gib=0.0)) == order_of(9)


def test_a_cached_frame_is_read_once():
    frames = frames_of(8, 4)
    for _ in range(2):
        list(all_batches(frames, batch_size=4, threads=1))
    assert sorted(frames.source.reads) == list(range(12))


@pytest.mark.parametrize(("frames", "cached"), [(20, True), (21, False)])
def test_frames_stay_in_memory_only_if_all_of_them_fit(frames, cached):
    room = 20 * SIZE * SIZE * 3 / 2**30
    assert (frames_of(frames, cache_gib=room).memory is not None) == cached


def test_without_memory_every_frame_is_read_again():
    frames = frames_of(8, cache_gib=0.0)
    for _ in range(2):
        list(all_batches(frames, batch_size=4, threads=1))
    assert sorted(frames.source.reads) == sorted(2 * list(range(8)))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_picture_that_cannot_be_read_is_named(threads):
    class Broken(Numbers):
        def __getitem__(self, index: int) -> Example:
            example = super().__getitem__(index)
            return example._replace(image=b"no picture") if index == 5 else example

    frames = ImageSet.of(Broken(8), SIZE, 1.0)
    with pytest.raises(ValueError, match="number 5: "):
        list(all_batches(frames, batch_size=4, threads=threads))
