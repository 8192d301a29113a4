"""Windows over feature maps: what single units see of the layers below them."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from zfnet_jax.zfnet.architecture import Window


class Windows(NamedTuple):
    """One square window for each unit over the maps of its image; it may reach outside of them.

    Attributes:
      image: (U,) int, the position of the unit's image in the batch.
      top: (U,) int, the window's first row.
      left: (U,) int, the window's first column.
      size: the window's width and height.
    """

    image: Array
    top: Array
    left: Array
    size: int

    def below(self, layer: Window) -> "Windows":
        """The windows of the layer's input that these windows of its output see."""
        return Windows(
            self.image,
            self.top * layer.stride - layer.padding,
            self.left * layer.stride - layer.padding,
            (self.size - 1) * layer.stride + layer.size,
        )

    def grown(self, margin: int) -> "Windows":
        """The windows with `margin` more rows and columns on every side."""
        return Windows(self.image, self.top - margin, self.left - margin, self.size + 2 * margin)

    def _positions(self, start: Array) -> Array:
        return start[:, None] + jnp.arange(self.size)

    def of(self, maps: Array, outside: int = 0) -> Array:
        """The windows' contents, (U, size, size, C), with `outside` where they leave the maps."""
        _, high, wide, _ = maps.shape
        rows, cols = self._positions(self.top), self._positions(self.left)
        taken = maps[
            self.image[:, None, None],
            rows.clip(0, high - 1)[:, :, None],
            cols.clip(0, wide - 1)[:, None, :],
        ]
        return jnp.where(self.inside(high, wide), taken, outside)

    def inside(self, high: int, wide: int) -> Array:
        """Which positions lie on a map of that size, (U, size, size, 1) bool."""
        rows, cols = self._positions(self.top), self._positions(self.left)
        inside = ((rows >= 0) & (rows < high))[:, :, None] & ((cols >= 0) & (cols < wide))[:, None]
        return inside[..., None]
