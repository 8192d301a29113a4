"""Zeiler & Fergus 2014, Fig 7: what a square over a picture does to what a net says of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zfnet_jax.analysis.occluded_pictures import OTHERS as OTHER_PICTURES
from zfnet_jax.analysis.occluded_pictures import OccludedPicture
from zfnet_jax.analysis.occlusion_maps import place_of_largest
from zfnet_jax.report.figures import new_figure
from zfnet_jax.report.formats import share
from zfnet_jax.report.occlusion_maps import (
    NARROWEST,
    OTHERS,
    Extent,
    heat_range,
    label_colours,
    label_picture,
    map_extent,
)
from zfnet_jax.report.panels import mosaic, signed_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAINT = 0.3
"""How strongly a picture shows through around a map that lies over it, 0..1."""


def draw(
    pictures: Sequence[OccludedPicture], class_names: Sequence[str], layer: str, path: Path
) -> None:
    """Draws the paper's five columns, a row for each picture.

    (a) the picture with the square where it costs the class most; (b) the map's activity; (c) its
    projections, this picture's in a frame; (d) the probability of the class; (e) the most probable
    label. The maps lie over the picture: each position's value at its square's centre.

    Args:
      pictures: those to draw.
      class_names: the name of each class.
      layer: the name of the map's layer.
      path: the picture to write.
    """
    figure = new_figure(17, 2.95 * len(pictures) + 0.35)
    grid = figure.subplots(len(pictures), 5, squeeze=False)
    for picture, row in zip(pictures, grid, strict=True):
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
        _draw_picture(picture, row, class_names, layer)
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


def _draw_picture(
    picture: OccludedPicture, row: Sequence["Axes"], class_names: Sequence[str], layer: str
) -> None:
    """Draws one picture's five columns."""
    # Half a second, which a command's --help need not wait for.
    from matplotlib.patches import Rectangle

    sweep = picture.sweep
    row[0].imshow(picture.shown, interpolation="none")
    top, left = picture.at_largest_drop - 0.5
    square = Rectangle((left, top), sweep.size, sweep.size, fill=False, edgecolor="white")
    row[0].add_patch(square)
    name = picture.name if len(picture.name) <= 34 else f"…{picture.name[-33:]}"
    row[0].set_title(name, fontsize=9)
    _heat(row[1], picture, sweep.activity, f"{layer} map {sweep.unit.map}", ".3g")
    _mosaic(row[2], picture.projections)
    predicted = " (predicted)" if picture.origin == "predicted" else ""
    title = (
        f"P({_short(class_names[picture.label], 30)}){predicted}\n"
        f"{sweep.unoccluded[picture.label]:.3f} with nothing hidden"
    )
    _heat(row[3], picture, sweep.outputs[..., picture.label], title, ".3f", NARROWEST)
    _labels(row[4], picture, class_names)


def _heat(
    axes: "Axes",
    picture: OccludedPicture,
    values: np.ndarray,
    title: str,
    form: str,
    narrowest: float = 0.0,
) -> None:
    low, high = heat_range(values, narrowest)
    _faintly(axes, picture)
    image = axes.imshow(
        values,
        cmap="inferno",
        vmin=low,
        vmax=high,
        interpolation="none",
        extent=_centred(map_extent(picture.sweep)),
    )
    _to_edges(axes, picture)
    axes.set_title(title, fontsize=9)
    figure = axes.figure
    assert figure
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    if low < high:
        ticks = np.linspace(low, high, 5)
        bar.set_ticks(ticks.tolist(), labels=[f"{tick:{form}}" for tick in ticks])
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(labelsize=8, length=2)


def _labels(axes: "Axes", picture: OccludedPicture, class_names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    labels = picture.sweep.most_probable
    colours, counts = label_colours(labels, picture.label)
    _faintly(axes, picture)
    axes.imshow(
        label_picture(labels, colours),
        interpolation="none",
        extent=_centred(map_extent(picture.sweep)),
    )
    _to_edges(axes, picture)
    entries = [
        Patch(color=colour, label=f"{_short(class_names[label], 18)} {share(count, labels.size)}")
        for label, colour in colours.items()
        if (count := counts[label])
    ]
    rest = sum(count for label, count in counts.items() if label not in colours)
    if rest:
        entries.append(Patch(color=OTHERS, label=f"others {share(rest, labels.size)}"))
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        fontsize=8,
        handlelength=1,
        handleheight=1,
    )


def _centred(extent: Extent) -> Extent:
    """The same for matplotlib, to which a pixel's centre is a whole number."""
    return Extent(*(edge - 0.5 for edge in extent))


def _faintly(axes: "Axes", picture: OccludedPicture) -> None:
    axes.imshow(picture.picture, interpolation="none", alpha=FAINT)


def _to_edges(axes: "Axes", picture: OccludedPicture) -> None:
    high, wide = picture.picture.shape[:2]
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5))


def _mosaic(axes: "Axes", projections: np.ndarray) -> None:
    """Four tiles, the first framed; empty places where a map has fewer pictures."""
    from matplotlib.patches import Rectangle

    tiles = signed_tiles(projections)
    field = tiles.shape[1]
    axes.imshow(mosaic(list(tiles), 1 + OTHER_PICTURES, field, gap=0), interpolation="none")
    axes.axhline(field - 0.5, color="white")
    axes.axvline(field - 0.5, color="white")
    frame = Rectangle((0, 0), field - 1, field - 1, fill=False, edgecolor="black", linewidth=2.5)
    axes.add_patch(frame)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def describe(picture: OccludedPicture, class_names: Sequence[str]) -> dict[str, Any]:
    """A picture as JSON data."""
    sweep, drop = picture.sweep, picture.sweep.drop(picture.label)
    probability = sweep.outputs[..., picture.label]
    place = place_of_largest(drop)
    counts = Counter(sweep.most_probable.ravel().tolist())
    return {
        "name": picture.name,
        "class": class_names[picture.label],
        "class_from": picture.origin,
        "predicted": class_names[int(sweep.unoccluded.argmax())],
        "probability": float(sweep.unoccluded[picture.label]),
        "lowest": float(probability.min()),
        "highest": float(probability.max()),
        "largest_drop": {
            "drop": float(drop[place]),
            "row": place[0],
            "col": place[1],
            "top_left": sweep.top_left[place].tolist(),
            "most_probable": class_names[int(sweep.most_probable[place])],
        },
        "most_probable": {class_names[label]: count for label, count in counts.most_common()},
        "unit": sweep.unit._asdict(),
        "activity": {
            "lowest": float(sweep.activity.min()),
            "highest": float(sweep.activity.max()),
        },
        "strongest_others": [unit._asdict() for unit in picture.others],
    }


def arrays(pictures: Sequence[OccludedPicture]) -> dict[str, Any]:
    """What the .npz holds: of one picture as it is, of several stacked."""
    sweeps = [picture.sweep for picture in pictures]
    columns = {
        "probability": [sweep.outputs for sweep in sweeps],
        "activity": [sweep.activity for sweep in sweeps],
    }
    stacked = {
        name: column[0] if len(column) == 1 else np.stack(column)
        for name, column in columns.items()
    }
    return {**stacked, "top_left": sweeps[0].top_left}
