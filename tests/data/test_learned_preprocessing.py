import numpy as np
import pytest

from zfnet_jax.data.learned_preprocessing import learn_preprocessing
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.source import Example


class Colours:
    """A source of pictures of one colour each."""

    class_names = ("a", "b")

    def __init__(self, *levels: int) -> None:
        self.levels = levels
        self.labels = np.arange(len(levels), dtype=np.int32) % 2
        self.names = tuple(f"{number}" for number in range(len(levels)))
        self.identity = repr(levels)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> Example:
        image = np.full((8, 8, 3), self.levels[index], np.uint8)
        return Example(image, int(self.labels[index]), self.names[index])


def learn(*levels: int):
    images = ImageSet.of(Colours(*levels), 8, cache_gib=0)
    options = {"mean_images": 0, "seed": 0, "threads": 1, "rows": slice(None)}
    return learn_preprocessing(images, batch_size=2, **options)


def test_the_mean_and_the_spread_around_it():
    preprocessing, standard_deviation = learn(90, 110, 110, 90)
    assert (preprocessing.mean == 100).all()
    assert standard_deviation == pytest.approx(10)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_pictures_that_are_all_alike_are_refused(level):
    with pytest.raises(ValueError, match="all 3 training images are the same, such as all of one"):
        learn(level, level, level)
