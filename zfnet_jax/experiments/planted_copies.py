"""Near-duplicates made on purpose, as they occur in collections: what `overlap` is tested with."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageOps

from zfnet_jax.core import identity
from zfnet_jax.data.source import Example, Source

Copy = Callable[[Image.Image, np.random.Generator], Image.Image]

QUALITY = 90
"""The quality of the JPEG that a copy is stored as, unless its kind is "recompressed"."""


def _resized(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.4, 1.5)
    return picture.resize([max(1, round(factor * side)) for side in picture.size])


def _cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A window of 95 % of the width and height, anywhere."""
    wide, high = (round(0.95 * side) for side in picture.size)
    left, top = rng.integers(0, picture.width - wide + 1), rng.integers(picture.height - high + 1)
    return picture.crop((int(left), int(top), int(left) + wide, int(top) + high))


def _brightened(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brighter or darker by 40 of 255, and cut off at black and white."""
    by = int(rng.choice([-40, 40]))
    return picture.point(lambda value: value + by)


def _all(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    for change in (_cropped, _resized, _brightened):
        picture = change(picture, rng)
    return picture


KINDS: MappingProxyType[str, Copy] = MappingProxyType(
    {
        "resized": _resized,
        "recompressed": lambda picture, _: picture,
        "cropped": _cropped,
        "brightness": _brightened,
        "mirrored": lambda picture, _: ImageOps.mirror(picture),
        "all but mirrored": _all,
    }
)
"""The changes that a copy can have, by name."""


@dataclass(frozen=True)
class PlantedCopies:
    """A `Source` of one near-duplicate of every picture of another source, as JPEG files.

    Attributes:
      originals: the other source.
      kind: one of `KINDS`; "recompressed" and "all but mirrored" are of JPEG quality 20.
      seed: of how much each picture is changed.
    """

    originals: Source
    kind: str
    seed: int = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The originals' class names."""
        return self.originals.class_names

    @property
    def labels(self) -> np.ndarray:
        """The originals' labels."""
        return self.originals.labels

    @property
    def names(self) -> Sequence[str]:
        """The originals' names."""
        return self.originals.names

    @property
    def identity(self) -> str:
        """As `Source.identity`."""
        return identity.of_json([self.originals.identity, self.kind, self.seed])

    def __len__(self) -> int:
        return len(self.originals)

    def __getitem__(self, index: int) -> Example:
        example, rng = self.originals[index], np.random.default_rng([self.seed, index])
        image = example.image
        if isinstance(image, np.ndarray):
            picture = Image.fromarray(image)
        else:
            picture = Image.open(io.BytesIO(image))
        low, file = self.kind in ("recompressed", "all but mirrored"), io.BytesIO()
        copy = KINDS[self.kind](picture.convert("RGB"), rng)
        copy.save(file, "JPEG", quality=20 if low else QUALITY)
        return example._replace(image=file.getvalue())
