"""The choice of pictures as one frozen value."""

from dataclasses import dataclass
from typing import Literal

from zfnet_jax.core.checked import Checked, at_least, limited


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which pictures, and how they become batches.

    Attributes:
      source: "shapes" (embedded), "folder:PATH" or "tfds:NAME[@DIR]".
      val_fraction: the part held out for validation where the source has no split, 0..1.
      train_list: a file with one CLASS/FILE a line, for a folder whose split is fixed.
      val_list: the validation images of that split.
      exclude: a file with one name a line, of images to leave out.
      crops: "views", one of the paper's ten drawn per image and step, or "random" crops and flips.
      balanced: draw every class equally often rather than every image.
      mean_images: how many training images the mean is taken over, drawn by the seed; 0 for all.
      threads: threads that decode; 0 for one per processor.
      cache_gib: decoded pictures stay in memory where the whole set fits into this, in GiB.
    """

    source: str = "shapes"
    val_fraction: float = limited(0.2, lambda value: 0 < value < 1, "between 0 and 1")
    train_list: str | None = None
    val_list: str | None = None
    exclude: str | None = None
    crops: Literal["views", "random"] = "views"
    balanced: bool = False
    mean_images: int = at_least(0, default=0)
    threads: int = at_least(0, default=0)
    cache_gib: float = limited(2.0, lambda value: value >= 0, "0 or more")
