"""Zeiler & Fergus 2014, Fig 7: what a square over a picture does to what a net says of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from zfnet_jax.analysis.occlusion import Occlusion
from zfnet_jax.analysis.occlusion_maps import place_of_largest
from zfnet_jax.report.atlas_views import share
from zfnet_jax.report.panels import signed_tiles
from zfnet_jax.report.pictures import GREY

COLOURS = (
    "#3b6fb6",
    "#e08a2e",
    "#4f9d69",
    "#b94a48",
    "#8468a8",
    "#c9b037",
    "#5fb3c4",
    "#d187a9",
)
"""Of labels: the class asked for has the first, the others by how many positions they have."""

OTHERS = "#b8b8b8"
"""Of the labels that are left when the colours are used up."""

HEAT = matplotlib.colormaps["inferno"]
"""Of probabilities and activities, from their smallest to their largest."""


NARROWEST = 0.05
"""The least difference of probabilities that dark and light stand for, lest noise looks large."""


@dataclass(frozen=True, eq=False)
class Row:
    """One picture.

    Attributes:
      name: its file.
      label: the class whose probability is shown.
      origin: where the class comes from, such as "data set" or "predicted".
      picture: (size, size, 3) uint8, as the network sees it.
      square: (size, size, 3) uint8, what the square would show if it covered everything.
      found: what the network said.
      projections: (1 + n, field, field, 3) float32, network space: of this picture's strongest
        unit of the map, then of the strongest others'.
    """

    name: str
    label: int
    origin: str
    picture: np.ndarray
    square: np.ndarray
    found: Occlusion
    projections: np.ndarray

    @property
    def at_largest_drop(self) -> np.ndarray:
        """The first row and column of the square that costs the class most, (2,) int."""
        return self.found.top_left[place_of_largest(self.found.drop(self.label))]

    @property
    def shown(self) -> np.ndarray:
        """The picture with the square there."""
        (top, left), size = self.at_largest_drop, self.found.size
        picture, place = self.picture.copy(), np.s_[top : top + size, left : left + size]
        picture[place] = self.square[place]
        return picture


def draw(rows: Sequence[Row], class_names: Sequence[str], layer: str, path: Path) -> None:
    """Draws the paper's five columns, a row for each picture.

    (a) the picture with the square where it costs the class most; (b) the map's activity; (c) its
    projections, this picture's in a frame; (d) the probability of the class; (e) the most probable
    label. The maps lie over the picture: each position's value at its square's centre.

    Args:
      rows: the pictures.
      class_names: the name of each class.
      layer: the name of the map's layer.
      path: the picture to write.
    """
    figure = Figure(figsize=(17, 2.95 * len(rows) + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        for each in axes:
            each.set(xticks=[], yticks=[])
            each.spines[:].set_color("#bbbbbb")
        name = class_names[row.label]
        axes[0].imshow(row.shown, interpolation="none")
        top, left = row.at_largest_drop - 0.5
        side = row.found.size
        axes[0].add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="white"))
        axes[0].set_title(row.name if len(row.name) <= 34 else f"…{row.name[-33:]}", fontsize=9)
        _heat(axes[1], row, row.found.activity, f"{layer} map {row.found.unit.map}", ".3g")
        _mosaic(axes[2], row.projections)
        told = " (predicted)" if row.origin == "predicted" else ""
        unoccluded = row.found.unoccluded[row.label]
        title = f"P({_short(name, 30)}){told}\n{unoccluded:.3f} with nothing hidden"
        _heat(axes[3], row, row.found.outputs[..., row.label], title, ".3f", NARROWEST)
        _labels(axes[4], row, class_names)
    for axes, heading in zip(
        grid[0],
        (
            "(a) square at the largest drop",
            "(b) activity of the strongest map",
            "(c) projections: here (framed), elsewhere",
            "(d) probability of the class",
            "(e) most probable label",
        ),
        strict=True,
    ):
        axes.annotate(
            heading,
            (0, 1),
            (0, 34),
            xycoords="axes fraction",
            textcoords="offset points",
            weight="bold",
            fontsize=10,
        )
    # Tight, since the layout does not count the headings.
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.08)


def heat_range(values: np.ndarray, narrowest: float = 0.0) -> tuple[float, float]:
    """What is shown dark and light: the extremes, further apart where they are nearly the same."""
    high = float(values.max())
    return min(float(values.min()), high - narrowest), high


def _heat(
    axes: Axes, row: Row, values: np.ndarray, title: str, form: str, narrowest: float = 0.0
) -> None:
    low, high = heat_range(values, narrowest)
    image = axes.imshow(
        values, cmap=HEAT, vmin=low, vmax=high, interpolation="none", extent=_extent(row.found)
    )
    _over_picture(axes, row)
    axes.set_title(title, fontsize=9)
    figure = axes.figure
    assert figure
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    if low < high:
        ticks = np.linspace(low, high, 5)
        bar.set_ticks(ticks.tolist(), labels=[f"{tick:{form}}" for tick in ticks])
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(labelsize=8, length=2)


def _labels(axes: Axes, row: Row, class_names: Sequence[str]) -> None:
    colours, counts = label_colours(row.found.most_probable, row.label)
    axes.imshow(label_picture(row.found.most_probable, colours), extent=_extent(row.found))
    _over_picture(axes, row)
    total = row.found.activity.size
    entries = [
        Patch(color=colour, label=f"{_short(class_names[label], 18)} {share(counts[label], total)}")
        for label, colour in colours.items()
        if counts[label]
    ]
    rest = sum(count for label, count in counts.items() if label not in colours)
    if rest:
        entries.append(Patch(color=OTHERS, label=f"others {share(rest, total)}"))
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        fontsize=8,
        handlelength=1,
        handleheight=1,
    )


def _extent(found: Occlusion) -> tuple[float, float, float, float]:
    """Where a map lies over its picture, by the squares' centres: left, right, bottom, top."""
    first, last = found.top_left[0, 0], found.top_left[-1, -1]
    steps = np.maximum(1, (last - first) / np.maximum(1, np.array(found.activity.shape) - 1))
    centre = (found.size - 1) / 2
    (top, left), (bottom, right) = first + centre - steps / 2, last + centre + steps / 2
    return left, right, bottom, top


def _over_picture(axes: Axes, row: Row) -> None:
    high, wide = row.picture.shape[:2]
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5))


def _mosaic(axes: Axes, projections: np.ndarray) -> None:
    """Four tiles, the first framed; grey where a map has fewer pictures."""
    tiles = signed_tiles(projections)
    field = tiles.shape[1]
    sheet = np.full((2 * field, 2 * field, 3), 255, np.uint8)
    for place in range(4):
        row, col = divmod(place, 2)
        pixels = tiles[place] if place < len(tiles) else np.uint8(GREY)
        sheet[row * field : (row + 1) * field, col * field : (col + 1) * field] = pixels
    axes.imshow(sheet, interpolation="none")
    axes.axhline(field - 0.5, color="white")
    axes.axvline(field - 0.5, color="white")
    frame = Rectangle((0, 0), field - 1, field - 1, fill=False, edgecolor="black", linewidth=2.5)
    axes.add_patch(frame)


def label_colours(labels: np.ndarray, first: int) -> tuple[dict[int, str], Counter[int]]:
    """The colours of the labels of a map, and how many positions each label has.

    Args:
      labels: (rows, cols) int.
      first: the label that has the first colour, whether it is there or not.

    Returns:
      Colours for as many labels as there are; the other labels share `OTHERS`.
    """
    counts = Counter(labels.ravel().tolist())
    ordered = [first, *(label for label, _ in counts.most_common() if label != first)]
    return dict(zip(ordered, COLOURS, strict=False)), counts


def label_picture(labels: np.ndarray, colours: dict[int, str]) -> np.ndarray:
    """A map of labels, (rows, cols), in their colours, (rows, cols, 3) uint8."""
    pixels = [to_rgb(colours.get(label, OTHERS)) for label in labels.ravel().tolist()]
    return (255 * np.array(pixels)).round().astype(np.uint8).reshape(*labels.shape, 3)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
