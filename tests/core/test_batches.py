import numpy as np
import pytest

from zfnet_jax.core.batches import equal_batches, multiple_of


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (5, 2, [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]),
        (4, 2, [([0, 1], 2), ([2, 3], 2)]),
        (1, 3, [([0, 0, 0], 1)]),
        (0, 3, []),
    ],
)
def test_the_last_batch_repeats_the_last_item(count, size, expected):
    batches = [(numbers.tolist(), new) for numbers, new in equal_batches(count, size)]
    assert batches == expected


def test_each_item_is_in_one_batch():
    for count in range(1, 30):
        for size in range(1, 12):
            new = [numbers[:count_new] for numbers, count_new in equal_batches(count, size)]
            np.testing.assert_array_equal(np.concatenate(new), np.arange(count))


def test_multiple_of():
    assert [multiple_of(size, 4) for size in (1, 4, 5)] == [4, 4, 8]
