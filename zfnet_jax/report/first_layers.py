"""The panels of Zeiler & Fergus 2014, Fig 6, for several nets side by side, and their numbers."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zfnet_jax.analysis.first_layers import DEAD, DOMINANT, EDGES, FirstLayers
from zfnet_jax.config import TrainConfig
from zfnet_jax.features.mining import NO_IMAGE
from zfnet_jax.report import panels
from zfnet_jax.report.figures import new_figure, plain
from zfnet_jax.report.pictures import enlarge, signed_to_pixels, symmetric_scale, tile
from zfnet_jax.report.tables import plain_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BANDS = ("low", "middle", "high")

DEAD_FRAME, DOMINANT_FRAME = (40, 90, 200), (225, 95, 0)
"""The colours of a filter's frame."""

_COLOURS = ("#c1440e", "#1f6f8b", "#8c8c8c", "#8a6d00", "#6a4c93", "#3a7d44")
_INK = (40, 40, 40)
_FONT, _LINE, _MARGIN = 26, 36, 14  # pixels
_TILE, _LEAST_WIDTH = 54, 1000
_PANEL_COLUMNS = 4  # of Fig 2's second layer


def facts(measured: FirstLayers) -> dict[str, str]:
    """What the numbers of one net come to, by what they are of; for a table or a caption."""
    first, measures = measured.first, measured.filters
    median, count = np.median(measures.rms), first.features
    config = measured.net.config
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
    for layer, shares in measured.firing.items():
        lines[f"never fire, {layer}"] = f"{(shares == 0).sum()} of {len(shares)}"
    return lines


def _cap_text(config: TrainConfig | None) -> str:
    if config is None:
        return "unknown"
    cap = config.optimizer.cap_of_first_layer
    return f"{cap:g}" if cap else "none"


def facts_table(titles: Sequence[str], nets: Sequence[FirstLayers]) -> str:
    """The facts of several nets as text, a column for each; a dash where a net has no such layer.

    Args:
      titles: the nets' names.
      nets: the nets.

    Returns:
      Lines with aligned columns.
    """
    columns = [facts(measured) for measured in nets]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [["", *titles], *([name, *(c.get(name, "-") for c in columns)] for name in names)]
    return plain_table(rows)


def describe(measured: FirstLayers) -> dict[str, Any]:
    """All numbers of one net as plain JSON data."""
    measures, top_units = measured.filters, measured.top_units
    arrays = {**measures._asdict(), "dead": measures.dead, "dominant": measures.dominant}
    columns = {name: values.tolist() for name, values in arrays.items()}
    config = measured.net.config
    return {
        "name": measured.net.name,
        "step": measured.net.step,
        "trained_on": config.data.source if config else None,
        "images": measured.images,
        "first_layer": {
            "layer": measured.first.name,
            "size": measured.first.size,
            "stride": measured.first.stride,
            "filter_cap": config.optimizer.cap_of_first_layer if config else None,
            "dead": sum(columns["dead"]),
            "dominant": sum(columns["dominant"]),
            **{name: float(getattr(measures, name).mean()) for name in (*BANDS, "folded")},
            "filters": [
                {"filter": number, **{name: values[number] for name, values in columns.items()}}
                for number in range(measured.first.features)
            ],
        },
        "firing": {
            layer: {"never": np.flatnonzero(shares == 0).tolist(), "share": shares.tolist()}
            for layer, shares in measured.firing.items()
        },
        "second_layer": {
            "layer": measured.second,
            "maps": top_units.map_numbers.tolist(),
            "images": [
                [int(image) for image, value in zip(*row, strict=True) if np.isfinite(value)]
                for row in zip(top_units.top.image, top_units.top.value, strict=True)
            ],
            "scale": "map",
        },
    }


def first_layers_picture(titles: Sequence[str], nets: Sequence[FirstLayers]) -> np.ndarray:
    """Draws a column for each net: first-layer filters, second-layer panel, numbers.

    Args:
      titles: the nets' names.
      nets: the nets.

    Returns:
      One picture, uint8; dead and dominant filters framed.
    """
    columns = []
    for title, measured in zip(titles, nets, strict=True):
        panel = _panel(measured)
        width = max(panel.shape[1], _LEAST_WIDTH)
        sheet = _filters(measured, width - 2 * _MARGIN)
        lines = [f"{name}: {value}" for name, value in facts(measured).items()]
        above, below = lines[: -len(measured.firing)], lines[-len(measured.firing) :]
        caption = f"{measured.second}: {len(measured.top_units.map_numbers)} maps at random"
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


def first_layers_plots(titles: Sequence[str], nets: Sequence[FirstLayers], path: Path) -> None:
    """Plots the filters' contrast, RMS and frequencies, and the maps that never fire.

    Args:
      titles: the nets' names.
      nets: the nets, each in a colour of its own.
      path: the picture to write.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure = new_figure(15, 3.8)
    contrast, rms, energy, never = figure.subplots(1, 4)
    for number, measured in enumerate(nets):
        style = {"color": _colour(number), "label": titles[number], "linewidth": 1.5}
        share = (np.arange(measured.first.features) + 0.5) / measured.first.features
        contrast.plot(share, np.sort(measured.filters.contrast)[::-1], **style)
        median = np.median(measured.filters.rms) or 1.0
        rms.plot(share, np.sort(measured.filters.rms)[::-1] / median, **style)
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
    _bars(energy, BANDS, [{b: getattr(s.filters, b).mean() for b in BANDS} for s in nets])
    edges = (0.0, *EDGES, 0.5)
    for place, (start, end) in enumerate(pairwise(edges)):
        noise = 4 * (end**2 - start**2)
        energy.hlines(noise, place - 0.45, place + 0.45, colors="black", linestyles="dotted")
    energy.set(title="Energy by band (dotted: noise)", ylim=(0, 1))
    shares = [{k: float(np.mean(v == 0)) for k, v in s.firing.items()} for s in nets]
    _bars(never, list(dict.fromkeys(layer for net in shares for layer in net)), shares)
    never.set(title="Maps that never fire, share", ylim=(0, None))
    for axes in (contrast, rms, energy, never):
        plain(axes)
    contrast.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def _bars(axes: "Axes", names: Sequence[str], values: Sequence[Mapping[str, float]]) -> None:
    """Groups of bars, one for each name, in which each net has a bar."""
    width = 0.8 / len(values)
    for number, net in enumerate(values):
        places = np.arange(len(names)) + (number - (len(values) - 1) / 2) * width
        axes.bar(places, [net.get(name, 0) for name in names], width, color=_colour(number))
    axes.set_xticks(range(len(names)), names)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _filters(measured: FirstLayers, width: int) -> np.ndarray:
    """The first layer's filters, scaled jointly, dead and dominant ones in frames."""
    filters = np.moveaxis(measured.kernel, -1, 0)
    columns = math.ceil(math.sqrt(len(filters) * 1.5))
    factor = max(1, width // (columns * (filters.shape[1] + 1)))
    frame = max(2, factor // 4)
    shown = enlarge(signed_to_pixels(filters, symmetric_scale(filters)), factor)
    framed = np.pad(shown, ((0, 0), (frame, frame), (frame, frame), (0, 0)), constant_values=255)
    inside = (slice(frame, -frame),) * 2
    for marked, colour in (
        (measured.filters.dead, DEAD_FRAME),
        (measured.filters.dominant, DOMINANT_FRAME),
    ):
        for number in np.flatnonzero(marked):
            framed[number] = colour
            framed[number][inside] = shown[number]
    sheet = tile(framed, columns, gap=max(1, frame // 2))
    return np.pad(sheet, ((0, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)


def _panel(measured: FirstLayers) -> np.ndarray:
    """The second layer's maps, projections beside patches."""
    return panels.panel_picture(
        measured.projections,
        measured.patches,
        panels.scales(measured.projections, "map"),
        [f"map {number}" for number in measured.top_units.map_numbers],
        filled=(measured.top_units.top.image != NO_IMAGE).sum(axis=1).tolist(),
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
