"""What a feature atlas shows, as data: its layers, their feature maps and the maps' top-k units."""

from collections import Counter
from dataclasses import dataclass

from zfnet_jax.features.controls import Control
from zfnet_jax.features.unit_records import UnitRecord

_SAMPLES = 3  # mosaics under a layer of the index


def thumbnail_path(image: int) -> str:
    """Where a picture's thumbnail lies in the atlas's folder, by the picture's number."""
    return f"images/{image:06}.webp"


@dataclass(frozen=True)
class FeatureMap:
    """One feature map. Pictures are paths relative to the atlas's folder.

    A mosaic has square tiles in the order of `top`, `Atlas.side` in a row, without gaps and without
    the places that no picture fills: the pages draw the lines and the missing places.

    Attributes:
      layer: the layer's name.
      map: the number of the map.
      title: the class, for a map of the last layer.
      top: the top-k units, strongest first; empty for a dead map.
      histogram: counts of images by their maximum of this map, one more than `Atlas.edges`.
      scale: the magnitude shown as black or white.
      projections: a mosaic.
      patches: a mosaic of the picture patches.
      control: a mosaic of the control's projections.
      evolution: a strip of square tiles, one for each of `Atlas.epochs`, left to right.
    """

    layer: str
    map: int
    title: str | None
    top: tuple[UnitRecord, ...]
    histogram: tuple[int, ...]
    scale: float
    projections: str | None
    patches: str | None
    control: str | None
    evolution: str | None

    @property
    def page(self) -> str:
        """Where its page lies in the folder."""
        return f"units/{self.layer}/{self.map:03d}.html"

    @property
    def labels(self) -> list[tuple[str, int]]:
        """The classes of its strongest images, most frequent first."""
        return Counter(unit.label for unit in self.top if unit.label is not None).most_common()


@dataclass(frozen=True)
class Layer:
    """A layer of the net.

    Attributes:
      name: also the name of a folder.
      kind: "conv", "pool", "norm" or "dense".
      shape: of its output, (rows, cols, maps) or (features,).
      text: such as "96 filters 7x7, stride 2".
      field: the receptive field in pixels; None where it is the whole picture.
      maps: its feature maps; empty where the layer was not mined.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    text: str
    field: int | None
    maps: tuple[FeatureMap, ...]

    @property
    def page(self) -> str:
        """Where its page lies in the folder."""
        return f"layers/{self.name}.html"

    @property
    def dead(self) -> int:
        """How many of its maps no picture excites."""
        return sum(not feature_map.top for feature_map in self.maps)

    @property
    def samples(self) -> list[FeatureMap]:
        """A few of its maps that are not dead, evenly spaced."""
        alive = [feature_map for feature_map in self.maps if feature_map.top]
        count = min(_SAMPLES, len(alive))
        return [alive[(2 * number + 1) * len(alive) // (2 * count)] for number in range(count)]


@dataclass(frozen=True)
class Atlas:
    """All that the pages show.

    Attributes:
      title: the run's name.
      layers: all layers of the net in order, the input excluded.
      input_size: of the network, in pixels.
      side: tiles in a row of a mosaic.
      rows: rows of a mosaic whose places are all filled.
      wanted: the k that was asked for; the pages say where there are fewer.
      images: how many pictures were mined.
      source: what of.
      facts: such as ("validation top-1", "64.1 %").
      curves: a picture of the training curves.
      figures: (path, caption).
      edges: of the histograms: bin 0 is up to edges[0], bin i is (edges[i-1], edges[i]], the last
        is open; edges[0] is 0.
      epochs: of the columns of the evolution strips.
      control: what the control's projections are.
    """

    title: str
    layers: tuple[Layer, ...]
    input_size: int
    side: int
    rows: int
    wanted: int
    images: int
    source: str
    facts: tuple[tuple[str, str], ...]
    curves: str | None
    figures: tuple[tuple[str, str], ...]
    edges: tuple[float, ...]
    epochs: tuple[int, ...]
    control: Control | None
