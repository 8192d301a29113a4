"""From decoded frames to what the net sees: the mean, crops and flips, on the device, under jit.

Zeiler & Fergus 2014, section 3: the short side is resized to 256 pixels, the centre 256x256 pixels
are taken, the per-pixel mean of the training set is subtracted, and the net sees 224x224 crops of
that. `decode` makes the 256x256 *frame*; the rest happens here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Crops = Literal["views", "random"]
Channels = Literal["rgb", "bgr"]
Scale = float | tuple[float, float, float]
VIEWS = 10
"""Four corners and the centre, each with and without a horizontal flip."""


def frame_size(input_size: int) -> int:
    """The frame that pictures are brought to, in pixels: 256 for the paper's 224."""
    return round(input_size * 256 / 224)


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """What turns a picture into network space, kept with the net it was learned for.

    Attributes:
      frame: the width and height that pictures are resized and centre-cropped to, in pixels.
      mean: what is subtracted: (frame, frame, 3) float32, per pixel, or (1, 1, 3); 0..255.
      scale: what the difference is multiplied by, not 0; one for all or for each of the net's
        channels.
      channels: the order of channels that the net reads; pictures are RGB.
    """

    frame: int
    mean: np.ndarray = field(repr=False)
    scale: Scale = 1.0
    channels: Channels = "rgb"

    def __post_init__(self) -> None:
        """Refuses a mean that does not lie over the frame, and a scale that cannot be undone."""
        if type(self.frame) is not int or self.frame < 1:
            raise ValueError(f"frame {self.frame!r}: expected a whole number of pixels, 1 or more")
        if self.channels not in ("rgb", "bgr"):
            raise ValueError(f"channels {self.channels!r}: expected 'rgb' or 'bgr'")
        if self.mean.shape not in ((self.frame, self.frame, 3), (1, 1, 3)):
            raise ValueError(
                f"mean of shape {self.mean.shape}: expected "
                f"({self.frame}, {self.frame}, 3) or (1, 1, 3)"
            )
        scale = np.asarray(self.scale)
        if (
            scale.shape not in ((), (3,))
            or scale.dtype.kind not in "iuf"
            or not (np.isfinite(scale) & (scale != 0)).all()
        ):
            raise ValueError(f"scale {self.scale!r}: expected a number, or three, none of them 0")

    def reorder(self, values: Any) -> Any:
        """Takes values, (..., 3), from RGB to the net's order of channels, and as well back."""
        return values[..., ::-1] if self.channels == "bgr" else values

    def apply(self, frames: Array) -> Array:
        """Takes raw frames, (N, frame, frame, 3) uint8 or float, to float32 network space."""
        ordered = self.reorder(frames).astype(jnp.float32)
        return (ordered - self.mean) * jnp.asarray(self.scale, jnp.float32)

    def undo(self, images: Array, corner: tuple[int, int] = (0, 0)) -> Array:
        """Takes crops of network space back to raw values, 0..255 float32.

        Args:
          images: (..., height, width, 3), network space.
          corner: where in the frame their top left pixel was.
        """
        top, left = corner
        high, wide = images.shape[-3:-1]
        mean = np.broadcast_to(self.mean, (self.frame, self.frame, 3))
        scale = np.asarray(self.scale, np.float32)
        raw = images / scale + mean[top : top + high, left : left + wide]
        return self.reorder(raw)


def corners(frame: int, size: int) -> np.ndarray:
    """The top left corners of the paper's five crops: four corners, then the centre; (5, 2)."""
    far, middle = frame - size, (frame - size) // 2
    return np.array([(0, 0), (0, far), (far, 0), (far, far), (middle, middle)])


def centre_view(images: Any, size: int) -> Any:
    """The centre crop, (N, size, size, 3), of images (N, frame, frame, 3), JAX's or NumPy's."""
    top, left = corners(images.shape[1], size)[-1]
    return images[:, top : top + size, left : left + size]


def ten_views(images: Array, size: int) -> Array:
    """The ten views that a prediction is averaged over.

    Zeiler & Fergus 2014, section 3.

    Args:
      images: (N, frame, frame, 3).
      size: the crop's width and height in pixels.

    Returns:
      (10, N, size, size, 3): four corners and the centre, then the same flipped.
    """
    crops = jnp.stack(
        [
            images[:, top : top + size, left : left + size]
            for top, left in corners(images.shape[1], size)
        ]
    )
    return jnp.concatenate([crops, crops[..., ::-1, :]])


def random_view(key: Array, images: Array, size: int, crops: Crops = "views") -> Array:
    """One crop of each image, drawn on its own, so that no batch layout changes it.

    Zeiler & Fergus 2014, section 3, can be read in two ways: the ten views, or any crop and flip.

    Args:
      key: of this step.
      images: (N, frame, frame, 3).
      size: the crop's width and height in pixels.
      crops: "views" draws among the ten, "random" any place and a flip.

    Returns:
      (N, size, size, 3).

    Raises:
      ValueError: crops is no such option.
    """
    count, frame = images.shape[:2]
    key_corner, key_flip = jax.random.split(key)
    if crops == "views":
        five = jnp.asarray(corners(frame, size))
        crop_corners = five[jax.random.randint(key_corner, (count,), 0, len(five))]
    elif crops == "random":
        crop_corners = jax.random.randint(key_corner, (count, 2), 0, frame - size + 1)
    else:
        raise ValueError(f"crops {crops!r}: expected 'views' or 'random'")
    flips = jax.random.bernoulli(key_flip, shape=(count,))

    def view(image: Array, corner: Array, flip: Array) -> Array:
        crop = lax.dynamic_slice(image, (corner[0], corner[1], 0), (size, size, 3))
        return jnp.where(flip, crop[:, ::-1], crop)

    return jax.vmap(view)(images, crop_corners, flips)


class PixelSums(NamedTuple):
    """Sums over frames, exact in integers, so that they add up in any order to the same bits.

    Attributes:
      frames: how many there are.
      values: the sum of each pixel, (frame, frame, 3) int64.
      squares: the sum of all squares.
    """

    frames: int
    values: np.ndarray
    squares: int

    @classmethod
    def of(cls, frames: np.ndarray) -> "PixelSums":
        """The sums over (N, frame, frame, 3) uint8 frames."""
        flat = frames.astype(np.int64).reshape(-1)
        return cls(len(frames), frames.sum(axis=0, dtype=np.int64), int(flat @ flat))

    def plus(self, other: "PixelSums") -> "PixelSums":
        """The sums over both."""
        return PixelSums(
            self.frames + other.frames, self.values + other.values, self.squares + other.squares
        )

    def mean(self) -> np.ndarray:
        """The per-pixel mean, (frame, frame, 3) float32, 0..255."""
        return (self.values / self.frames).astype(np.float32)

    def standard_deviation(self) -> float:
        """The standard deviation of the pixels around their own means."""
        means = self.values / self.frames
        variance = self.squares / self.frames / means.size - np.mean(means**2)
        return float(np.sqrt(max(variance, 0.0)))  # of equal pictures it may be rounded below 0


def pixel_sums(batches: Iterable[np.ndarray], frame: int) -> PixelSums:
    """The sums over a stream of uint8 frame batches; memory does not grow with their number."""
    total = PixelSums(0, np.zeros((frame, frame, 3), np.int64), 0)
    for frames in batches:
        total = total.plus(PixelSums.of(frames))
    return total
