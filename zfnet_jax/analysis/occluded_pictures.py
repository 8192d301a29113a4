"""Pictures of a data set under a sliding square, and what stands beside the maps in Fig 7.

Zeiler & Fergus 2014, section 4.2 and Fig 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from zfnet_jax.analysis.occlusion import BATCH, Occlusion, occlude
from zfnet_jax.analysis.occlusion_maps import place_of_largest
from zfnet_jax.analysis.winograd import fast_network
from zfnet_jax.core.pixels import raw_to_pixels
from zfnet_jax.data.labels import Label
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import centre_view, corners
from zfnet_jax.features.feature_maps import Panel, make_panel
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.features.projection import project_all
from zfnet_jax.features.unit_records import UnitRecord, image_names, unit_records
from zfnet_jax.networks.function import network_input
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.units import Units

OTHERS = 3
"""Other pictures whose projections are shown, as in the paper."""


class Square(NamedTuple):
    """The square that hides a part of a picture.

    Attributes:
      size: its width and height, in pixels of the net's input.
      stride: from one position to the next, in pixels.
      value: of its pixels, in network space.
    """

    size: int
    stride: int
    value: float = 0.0


@dataclass(frozen=True, eq=False)
class OccludedPicture:
    """What a net says of one picture under the square.

    Attributes:
      name: the picture's.
      label: the class whose probability is shown.
      origin: where the class comes from, such as "data set" or "predicted".
      picture: (size, size, 3) uint8, as the network sees it.
      square: (size, size, 3) uint8, what the square would show if it covered everything.
      sweep: what the network says at each position.
      projections: (1 + n, field, field, 3) float32, network space: of this picture's strongest
        unit of the map, then of those of the n other pictures.
      others: the map's n strongest units in other pictures.
    """

    name: str
    label: int
    origin: str
    picture: np.ndarray
    square: np.ndarray
    sweep: Occlusion
    projections: np.ndarray
    others: tuple[UnitRecord, ...]

    @property
    def at_largest_drop(self) -> np.ndarray:
        """The first row and column of the square that costs the class most, (2,) int."""
        return self.sweep.top_left[place_of_largest(self.sweep.drop(self.label))]

    @property
    def shown(self) -> np.ndarray:
        """The picture with the square there."""
        (top, left), size = self.at_largest_drop, self.sweep.size
        picture, place = self.picture.copy(), np.s_[top : top + size, left : left + size]
        picture[place] = self.square[place]
        return picture


def occlude_pictures(
    net: Net,
    images: ImageSet,
    items: np.ndarray,
    labels: Sequence[Label | None],
    others: ImageSet,
    layer: str,
    square: Square,
    *,
    map_number: int | None = None,
    batch_size: int = BATCH,
) -> list[OccludedPicture]:
    """Slides a square over pictures, and looks for other pictures that excite the same maps.

    Args:
      net: the net.
      images: the data set.
      items: (n,) int, which of its pictures.
      labels: the class of each, None where the predicted one is to be taken.
      others: the pictures in which the maps' strongest units are looked for.
      layer: the layer whose maps are watched.
      square: what hides.
      map_number: the map to watch; None for the one that responds most to each picture.
      batch_size: positions at a time.

    Returns:
      A result for each picture.

    Raises:
      ValueError: the square is not one for these pictures; there is no such map.
    """
    decoded = images.batch(items).frames
    pictures = centre_view(decoded, net.architecture.input_size)
    seen, function = np.asarray(network_input(net)(decoded)), fast_network(net)
    sweeps = [
        occlude(
            function,
            image,
            layer,
            size=square.size,
            stride=square.stride,
            value=square.value,
            map_number=map_number,
            batch_size=batch_size,
        )
        for image in tqdm(seen, "occluding", disable=None, leave=False, unit="picture")
    ]
    watched = sorted({sweep.unit.map for sweep in sweeps})
    panel = make_panel(net, others, layer, top=OTHERS + 1, map_numbers=watched)
    names = image_names(others.source, panel.top.image.ravel())
    records = unit_records(net.architecture, layer, panel.top, names, others.source.class_names)
    own = project_top_units(net, seen, layer, sweeps)
    hidden = fully_hidden_picture(net, square.value)
    results = []
    for number, (sweep, label) in enumerate(zip(sweeps, labels, strict=True)):
        row = watched.index(sweep.unit.map)
        places = places_of_other_pictures(panel, others, row, pictures[number])
        results.append(
            OccludedPicture(
                name=images.source[int(items[number])].name,
                label=label.number if label else int(sweep.unoccluded.argmax()),
                origin=label.origin if label else "predicted",
                picture=pictures[number],
                square=hidden,
                sweep=sweep,
                projections=np.concatenate([own[number, None], panel.projections[row, places]]),
                others=tuple(records[row][place] for place in places),
            )
        )
    return results


def fully_hidden_picture(net: Net, value: float) -> np.ndarray:
    """The picture whose every pixel has a value in network space, (size, size, 3) uint8."""
    size, preprocessing = net.architecture.input_size, net.preprocessing
    top, left = corners(preprocessing.frame, size)[-1].tolist()
    grey = jnp.full((size, size, 3), value)
    return raw_to_pixels(np.asarray(preprocessing.undo(grey, (top, left))))


def project_top_units(
    net: Net, images: np.ndarray, layer: str, sweeps: Sequence[Occlusion]
) -> np.ndarray:
    """Projects the strongest unit that each picture has in its map.

    Args:
      net: the net.
      images: (N, size, size, 3) float32, network space.
      layer: the maps' layer.
      sweeps: N of them, which name the units.

    Returns:
      (N, field, field, 3) float32, network space.
    """
    units = Units.of(
        [
            (number, unit.row, unit.col, unit.map, unit.value)
            for number, unit in enumerate(sweep.unit for sweep in sweeps)
        ]
    )
    parts = list(project_all(net, lambda items: jnp.asarray(images[items]), {layer: units}))
    order = np.argsort(np.concatenate([part.positions for part in parts]))
    return np.concatenate([part.patches for part in parts])[order]


def places_of_other_pictures(
    panel: Panel, images: ImageSet, row: int, picture: np.ndarray
) -> list[int]:
    """Which places of a map's row in a panel are of other pictures.

    Args:
      panel: of one more place a map than are wanted, since the picture itself may be among them.
      images: the pictures that it was made from.
      row: the map's in the panel.
      picture: (size, size, 3) uint8, what the net sees of the one that is no other picture.

    Returns:
      At most `OTHERS`, strongest first.
    """
    places = []
    for place, image in enumerate(panel.top.image[row].tolist()):
        if image != NO_IMAGE:
            view = centre_view(images.read(image)[0][None], len(picture))[0]
            if not np.array_equal(view, picture):
                places.append(place)
    return places[:OTHERS]
