"""The top-k units of feature maps as records: the one form in which files and pages show them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from zfnet_jax.data.source import Source
from zfnet_jax.features.mining import NO_IMAGE, Top
from zfnet_jax.features.top_units import unit_box
from zfnet_jax.zfnet.architecture import Architecture


class UnitRecord(NamedTuple):
    """One of a feature map's top-k units; `_asdict` is its JSON form.

    Attributes:
      image: the number of its image in the data set.
      name: the image's name.
      label: the image's class; None where it has none.
      row: where in the map the unit is; 0 in a dense layer.
      col: likewise.
      value: its activation.
      box: its receptive field: top, left, height and width in pixels of the network's input, which
        may reach outside the image.
    """

    image: int
    name: str
    label: str | None
    row: int
    col: int
    value: float
    box: tuple[int, int, int, int]


def image_names(source: Source, images: Iterable[int]) -> dict[int, str]:
    """The names of some images of a data set, by number; `NO_IMAGE` is left out."""
    numbers = {int(image) for image in images}
    return {number: source[number].name for number in sorted(numbers - {NO_IMAGE})}


def unit_records(
    arch: Architecture,
    layer: str,
    top: Top,
    names: Mapping[int, str],
    class_names: Sequence[str],
) -> list[tuple[UnitRecord, ...]]:
    """The records of a layer's top-k units.

    Args:
      arch: the net's layers.
      layer: the layer's name.
      top: arrays of shape (M, k), empty places last.
      names: of the images by number, from `image_names`.
      class_names: of the data set; empty where its images have no class.

    Returns:
      M tuples of at most k records, strongest first; an empty one for a dead map.
    """
    return [
        tuple(
            UnitRecord(
                image=image,
                name=names[image],
                label=class_names[int(label)] if class_names else None,
                row=row,
                col=col,
                value=value,
                box=unit_box(arch, layer, row, col),
            )
            for value, image, row, col, label in zip(*columns, strict=True)
            if image != NO_IMAGE
        )
        for columns in zip(*(column.tolist() for column in top), strict=True)
    ]
