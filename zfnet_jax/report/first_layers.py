"""The panels of Zeiler & Fergus 2014, Fig 6, for several nets side by side, and their numbers."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image, ImageDraw, ImageFont

from zfnet_jax.analysis.first_layers import DEAD, DOMINANT, EDGES, FirstLayers
from zfnet_jax.config import TrainConfig
from zfnet_jax.report import panels
from zfnet_jax.report.pictures import enlarge, signed_to_pixels, symmetric_scale, tile

BANDS = ("low", "middle", "high")

DEAD_FRAME, DOMINANT_FRAME = (40, 90, 200), (225, 95, 0)
"""The colours of a filter's frame."""

_COLOURS = ("#c1440e", "#1f6f8b", "#8c8c8c", "#8a6d00", "#6a4c93", "#3a7d44")
_INK = (40, 40, 40)
_FONT, _LINE, _MARGIN = 26, 36, 14  # pixels
_TILE, _LEAST_WIDTH = 54, 1000
_PANEL_COLUMNS = 4  # of Fig 2's second layer


def facts(selection: FirstLayers) -> dict[str, str]:
    """What the numbers of one net come to, by what they are of; for a table or a caption."""
    first, measures = selection.first, selection.filters
    median, count = np.median(measures.rms), first.features
    config = selection.net.config
    bands = [getattr(measures, band).mean() for band in BANDS]
    lines = {
        "filters": f"{count}, {first.size}x{first.size}, stride {first.stride}",
        "filter cap of the first layer": _cap_text(config),
        "RMS, median and largest": f"{median:.2g}, {measures.rms.max():.2g}",
        f"dominant (RMS over {DOMINANT:g}x median)": f"{measures.dominant.sum()} of {count}",
        "contrast, median": f"{np.median(measures.contrast):.2f}",
        f"dead (contrast under {DEAD * 255:g}/255)": f"{measures.dead.sum()} of {count}",
        "energy low, middle, high": ", ".join(f"{share:.2f}" for share in bands),
        "energy that the stride folds": f"{measures.folded.mean():.2f}",
    }
    for layer, shares in selection.firing.items():
        lines[f"never fire, {layer}"] = f"{(shares == 0).sum()} of {len(shares)}"
    return lines


def _cap_text(config: TrainConfig | None) -> str:
    if config is None:
        return "unknown"
    cap = config.optimizer.cap_of_first_layer
    return f"{cap:g}" if cap else "none"


def table(titles: Sequence[str], selections: Sequence[FirstLayers]) -> str:
    """The facts of several nets as text, a column for each; a dash where a net has no such layer.

    Args:
      titles: the nets' names.
      selections: the nets.

    Returns:
      Lines with aligned columns.
    """
    columns = [facts(each) for each in selections]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [["", *titles], *([name, *(c.get(name, "-") for c in columns)] for name in names)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def describe(selection: FirstLayers) -> dict[str, Any]:
    """All numbers of one net as plain JSON data."""
    measures, chosen = selection.filters, selection.top_units
    measured = {**measures._asdict(), "dead": measures.dead, "dominant": measures.dominant}
    columns = {name: values.tolist() for name, values in measured.items()}
    config = selection.net.config
    return {
        "name": selection.net.name,
        "step": selection.net.step,
        "trained_on": config.data.source if config else None,
        "images": selection.images,
        "first_layer": {
            "layer": selection.first.name,
            "size": selection.first.size,
            "stride": selection.first.stride,
            "filter_cap": config.optimizer.cap_of_first_layer if config else None,
            "dead": sum(columns["dead"]),
            "dominant": sum(columns["dominant"]),
            **{name: float(getattr(measures, name).mean()) for name in (*BANDS, "folded")},
            "filters": [
                {"filter": number, **{name: values[number] for name, values in columns.items()}}
                for number in range(selection.first.features)
            ],
        },
        "firing": {
            layer: {"never": np.flatnonzero(shares == 0).tolist(), "share": shares.tolist()}
            for layer, shares in selection.firing.items()
        },
        "second_layer": {
            "layer": selection.second,
            "maps": chosen.map_numbers.tolist(),
            "images": [
                [int(image) for image, value in zip(*row, strict=True) if np.isfinite(value)]
                for row in zip(chosen.top.image, chosen.top.value, strict=True)
            ],
            "scale": "map",
        },
    }


def selection_picture(titles: Sequence[str], selections: Sequence[FirstLayers]) -> np.ndarray:
    """Draws a column for each net: first-layer filters, second-layer panel, numbers under each.

    Args:
      titles: the nets' names.
      selections: the nets.

    Returns:
      One picture, uint8; dead and dominant filters framed.
    """
    columns = []
    for title, each in zip(titles, selections, strict=True):
        panel = _panel(each)
        width = max(panel.shape[1], _LEAST_WIDTH)
        sheet = _filters(each, width - 2 * _MARGIN)
        lines = [f"{name}: {value}" for name, value in facts(each).items()]
        above, below = lines[: -len(each.firing)], lines[-len(each.firing) :]
        caption = f"{each.second}: {len(each.top_units.map_numbers)} maps at random"
        columns.append(
            [
                _written([title], width),
                sheet,
                _written(above, width, columns=2),
                _written([caption], width),
                panel,
                _written(below, width, columns=3),
            ]
        )
    width = max(part.shape[1] for column in columns for part in column) + 2 * _MARGIN
    rows = []
    for parts in zip(*columns, strict=True):
        height = max(len(part) for part in parts)
        rows.append(np.concatenate([_padded(part, height, width) for part in parts], axis=1))
    legend = "Framed: dead filters in blue, dominant ones in orange. Filters share a scale per net."
    rows.append(_written([legend], rows[0].shape[1]))
    return np.pad(
        np.concatenate(rows), ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255
    )


def selection_plots(titles: Sequence[str], selections: Sequence[FirstLayers], path: Path) -> None:
    """Plots the filters' contrast, RMS and frequencies, and the maps that never fire.

    Args:
      titles: the nets' names.
      selections: the nets, each in a colour of its own.
      path: the picture to write.
    """
    figure = Figure(figsize=(15, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    contrast, rms, energy, never = figure.subplots(1, 4)
    for number, each in enumerate(selections):
        style = {"color": _colour(number), "label": titles[number], "linewidth": 1.5}
        share = (np.arange(each.first.features) + 0.5) / each.first.features
        contrast.plot(share, np.sort(each.filters.contrast)[::-1], **style)
        median = np.median(each.filters.rms) or 1.0
        rms.plot(share, np.sort(each.filters.rms)[::-1] / median, **style)
    limit = {"color": "black", "linewidth": 0.8, "linestyle": ":"}
    contrast.axhline(DEAD, **limit)
    contrast.set(title="Contrast (dotted: dead)", ylim=(0, 1.02))
    rms.axhline(DOMINANT, **limit)
    rms.set(title="RMS over its median (dotted: dominant)", yscale="log")
    rms.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    rms.yaxis.set_major_formatter("{x:g}")
    rms.yaxis.set_minor_locator(NullLocator())
    for axes in (contrast, rms):
        axes.set_xlabel("share of filters, sorted")
    _bars(energy, BANDS, [{b: getattr(s.filters, b).mean() for b in BANDS} for s in selections])
    edges = (0.0, *EDGES, 0.5)
    for place, (start, end) in enumerate(pairwise(edges)):
        noise = 4 * (end**2 - start**2)
        energy.hlines(noise, place - 0.45, place + 0.45, colors="black", linestyles="dotted")
    energy.set(title="Energy by band (dotted: noise)", ylim=(0, 1))
    shares = [{k: float(np.mean(v == 0)) for k, v in s.firing.items()} for s in selections]
    _bars(never, list(dict.fromkeys(layer for each in shares for layer in each)), shares)
    never.set(title="Maps that never fire, share", ylim=(0, None))
    for axes in (contrast, rms, energy, never):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    contrast.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[Mapping[str, float]]) -> None:
    """Groups of bars, one for each name, in which each net has a bar."""
    width = 0.8 / len(values)
    for number, each in enumerate(values):
        places = np.arange(len(names)) + (number - (len(values) - 1) / 2) * width
        axes.bar(places, [each.get(name, 0) for name in names], width, color=_colour(number))
    axes.set_xticks(range(len(names)), names)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _filters(selection: FirstLayers, width: int) -> np.ndarray:
    """The first layer's filters, scaled jointly, dead and dominant ones in frames."""
    filters = np.moveaxis(selection.kernel, -1, 0)
    columns = math.ceil(math.sqrt(len(filters) * 1.5))
    factor = max(1, width // (columns * (filters.shape[1] + 1)))
    frame = max(2, factor // 4)
    shown = enlarge(signed_to_pixels(filters, symmetric_scale(filters)), factor)
    framed = np.pad(shown, ((0, 0), (frame, frame), (frame, frame), (0, 0)), constant_values=255)
    inside = (slice(frame, -frame),) * 2
    for marked, colour in (
        (selection.filters.dead, DEAD_FRAME),
        (selection.filters.dominant, DOMINANT_FRAME),
    ):
        for number in np.flatnonzero(marked):
            framed[number] = colour
            framed[number][inside] = shown[number]
    sheet = tile(framed, columns, gap=max(1, frame // 2))
    return np.pad(sheet, ((0, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)


def _panel(selection: FirstLayers) -> np.ndarray:
    """The second layer's maps, projections beside patches."""
    return panels.panel_picture(
        selection.projections,
        selection.patches,
        panels.scales(selection.projections, "map"),
        [f"map {number}" for number in selection.top_units.map_numbers],
        tile_width=_TILE,
        columns=_PANEL_COLUMNS,
    )


def _written(lines: Sequence[str], width: int, columns: int = 1) -> np.ndarray:
    """Lines of text on white, set in columns, filled one after the other."""
    rows = math.ceil(len(lines) / columns)
    image = Image.new("RGB", (width, rows * _LINE + _MARGIN), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT)
    for number, line in enumerate(lines):
        column, row = divmod(number, rows)
        draw.text((_MARGIN + column * (width // columns), row * _LINE), line, _INK, font)
    return np.asarray(image)


def _padded(part: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - part.shape[0], width - part.shape[1]
    return np.pad(part, ((0, below), (0, right), (0, 0)), constant_values=255)
