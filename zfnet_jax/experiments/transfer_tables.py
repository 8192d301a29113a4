"""The tables and figures of transfer and of the layers' features, with the paper's numbers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, PercentFormatter

from zfnet_jax.experiments import transfer
from zfnet_jax.experiments.transfer import PRE_TRAINED, SCRATCH
from zfnet_jax.report.tables import markdown_table, percent

CALTECH_101 = {
    PRE_TRAINED: {15: "83.8 ± 0.5", 30: "86.5 ± 0.5"},
    SCRATCH: {15: "22.8 ± 1.5", 30: "46.5 ± 1.7"},
}
"""The paper's Table 4, percent by training images a class."""

CALTECH_256 = {
    PRE_TRAINED: {15: "65.7", 30: "70.6", 45: "72.7", 60: "74.2"},
    SCRATCH: {15: "9.0", 30: "22.5", 45: "31.2", 60: "38.8"},
}
"""The paper's Table 5."""

FIG_9 = {1: 27.2, 2: 39.2, 3: 46.2, 4: 51.8, 5: 54.9, 6: 57.0, 7: 58.9, 10: 62.6} | {
    n: float(value) for n, value in CALTECH_256[PRE_TRAINED].items()
}
"""The paper's curve on Caltech-256: as measured in the figure up to 10, then the table's."""

VOC_2012 = {
    **{"aeroplane": 96.0, "bicycle": 77.1, "bird": 88.4, "boat": 85.5, "bottle": 55.8},
    **{"bus": 85.8, "car": 78.6, "cat": 91.2, "chair": 65.0, "cow": 74.4, "diningtable": 67.7},
    **{"dog": 87.8, "horse": 86.0, "motorbike": 85.1, "person": 90.9, "pottedplant": 52.2},
    **{"sheep": 83.6, "sofa": 61.1, "train": 91.8, "tvmonitor": 76.1},
}
"""The paper's Table 6, average precision in percent."""

TABLE_7 = {
    "svm": {
        1: ("44.8 ± 0.7", "24.6 ± 0.4"),
        2: ("66.2 ± 0.5", "39.6 ± 0.3"),
        3: ("72.3 ± 0.4", "46.0 ± 0.3"),
        4: ("76.6 ± 0.4", "51.3 ± 0.1"),
        5: ("86.2 ± 0.8", "65.6 ± 0.3"),
        7: ("85.5 ± 0.4", "71.7 ± 0.2"),
    },
    "softmax": {5: ("82.9 ± 0.4", "65.7 ± 0.5"), 7: ("85.4 ± 0.4", "72.6 ± 0.1")},
}
"""The paper's Table 7: Caltech-101 with 30 images a class, Caltech-256 with 60."""

_OURS, _PAPER = "#c1440e", "#8c8c8c"
_LINES = (("#c1440e", "o"), ("#1f6f8b", "s"), ("#8a6d00", "^"), ("#6a4c93", "D"))


_SHIFT = 0.08  # between two lines at one layer, of the distance between layers


def transfer_text(rows: Sequence[transfer.Row]) -> str:
    """Tables 4 and 5: our numbers, and beside them the paper's for as many images a class."""
    heads = ("net", "a class", "classes", "accuracy, %", "paper: Caltech-101", "Caltech-256")
    lines = [
        (
            row.model,
            str(row.n),
            str(row.classes),
            percent(row.mean, row.std),
            CALTECH_101[row.model].get(row.n, "-"),
            CALTECH_256[row.model].get(row.n, "-"),
        )
        for row in rows
    ]
    return markdown_table(heads, lines)


def transfer_picture(
    rows: Sequence[transfer.Row], title: str, path: Path, *, paper: bool = False
) -> None:
    """Draws accuracy over training images a class, as in Fig 9.

    Args:
      rows: the table.
      title: what the pictures are, in a line.
      path: the picture to write.
      paper: whether the paper's curve, from ImageNet to Caltech-256, is drawn too.
    """
    figure, axes = _axes((6.4, 4.2), title)
    for model, (colour, marker) in zip((PRE_TRAINED, SCRATCH), _LINES, strict=False):
        of_model = [row for row in rows if row.model == model]
        if of_model:
            _line(axes, [row.n for row in of_model], of_model, colour, model, marker)
    ticks = {row.n for row in rows}
    if paper:
        _paper_line(axes, FIG_9, "paper: ImageNet to Caltech-256")
        ticks |= {1, 2, 5, 10, 30, 60}
    ticks = sorted(ticks)
    axes.set_xscale("log")
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="training images a class", ylabel="mean of per-class accuracies")
    _legend_below(figure, axes)
    figure.savefig(path, dpi=120)


def layers_text(rows: Sequence[Any], numbers: Mapping[str, int]) -> str:
    """Table 7: our numbers, and beside them the paper's of the layer of the same number.

    Args:
      rows: of `layer_features.rows`.
      numbers: of `features.numbers`.
    """
    heads = ("net", "layer", "classifier", "accuracy, %", "paper: Caltech-101", "Caltech-256")
    lines = [
        (
            row.net,
            row.layer,
            row.classifier,
            percent(row.mean, row.std),
            *TABLE_7[row.classifier].get(numbers[row.layer], ("-", "-")),
        )
        for row in rows
    ]
    return markdown_table(heads, lines)


def layers_picture(
    rows: Sequence[Any],
    numbers: Mapping[str, int],
    title: str,
    path: Path,
    *,
    paper: bool = False,
) -> None:
    """Draws accuracy over layers; the lines lie side by side, so that none hides another.

    Args:
      rows: of `layer_features.rows`.
      numbers: of `features.numbers`.
      title: what the pictures are, in a line.
      path: the picture to write.
      paper: whether the paper's SVM on Caltech-101 is drawn too.
    """
    figure, axes = _axes((6.4, 4.2), title)
    series = dict.fromkeys((row.net, row.classifier) for row in rows)
    for line, (net, classifier) in enumerate(series):
        of_line = [row for row in rows if (row.net, row.classifier) == (net, classifier)]
        shift = _SHIFT * (line - (len(series) - 1) / 2)
        positions = [numbers[row.layer] + shift for row in of_line]
        colour, marker = _LINES[line % len(_LINES)]
        _line(axes, positions, of_line, colour, f"{classifier}, {net}", marker)
    ticks = {numbers[row.layer]: row.layer for row in rows}
    if paper:
        svm = {layer: float(cells[0].split()[0]) for layer, cells in TABLE_7["svm"].items()}
        _paper_line(axes, svm, "paper: svm, Caltech-101, 30 a class")
        ticks = {layer: f"layer {layer}" for layer in svm} | ticks
    axes.set_xticks(sorted(ticks), [ticks[layer] for layer in sorted(ticks)])
    axes.set_xlim(min(ticks) - 0.5, max(ticks) + 0.5)
    axes.set(xlabel="features of layer", ylabel="mean of per-class accuracies")
    _legend_below(figure, axes)
    figure.savefig(path, dpi=120)


def voc_text(precisions: Mapping[str, float | None]) -> str:
    """Table 6: average precision by class, beside the paper's.

    Args:
      precisions: 0..1 by class, None where no test picture shows it.
    """
    lines = [
        (name, "-" if value is None else f"{100 * value:.1f}", f"{VOC_2012[name]:.1f}")
        for name, value in precisions.items()
    ]
    known = [value for value in precisions.values() if value is not None]
    mean = f"{100 * sum(known) / len(known):.1f}" if known else "-"
    lines.append(("mean", mean, f"{sum(VOC_2012.values()) / len(VOC_2012):.1f}"))
    return markdown_table(("class", "average precision, %", "paper, on the test set"), lines)


def voc_picture(
    precisions: Mapping[str, float | None], title: str, path: Path, *, paper: bool = False
) -> None:
    """Draws average precision by class, and the paper's beside it where `paper` says so."""
    figure, axes = _axes((9, 3.8), title)
    columns = range(len(precisions))
    ours, shift = [value or 0.0 for value in precisions.values()], 0.2 if paper else 0.0
    axes.bar([x - shift for x in columns], ours, 0.4, color=_OURS, label="this net")
    if paper:
        theirs = [VOC_2012[name] / 100 for name in precisions]
        axes.bar([x + shift for x in columns], theirs, 0.4, color=_PAPER, label="paper, test set")
    axes.set_xticks(list(columns), list(precisions), rotation=60, ha="right")
    axes.set_ylabel("average precision")
    axes.grid(visible=False, axis="x")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside right upper")
    figure.savefig(path, dpi=120)


def _axes(size: tuple[float, float], title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(ylim=(0, 1))
    axes.set_title(title, fontsize=10)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Where no line can run through it."""
    entries = axes.get_legend_handles_labels()
    figure.legend(*entries, frameon=False, loc="outside lower center", ncols=2, fontsize=9)


def _paper_line(axes: Axes, percents: Mapping[int, float], label: str) -> None:
    style = {"color": _PAPER, "linestyle": "--", "linewidth": 1.2, "marker": ".", "zorder": 1}
    values = [value / 100 for value in percents.values()]
    axes.plot(list(percents), values, label=label, **style)


def _line(
    axes: Axes,
    positions: Sequence[float],
    rows: Sequence[Any],
    colour: str,
    label: str,
    marker: str,
) -> None:
    means, deviations = [row.mean for row in rows], [row.std or math.nan for row in rows]
    axes.errorbar(
        positions,
        means,
        deviations,
        color=colour,
        label=label,
        linewidth=1.5,
        marker=marker,
        capsize=3,
        markersize=4,
    )
