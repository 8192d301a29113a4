"""The table of how consistently a net answers to hidden parts, as text, picture and JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from zfnet_jax.analysis.correspondence import Consistency

PART, RANDOM = "part", "random place"

_MEAN = "mean of the parts"
_INK, _MUTED = "#1b1b1b", "#686868"
_ROW = 0.26  # inches
_FONT = 9.5


class Hidden(NamedTuple):
    """What hiding a part does, and hiding as much elsewhere.

    Attributes:
      part: its name.
      pictures: in how many.
      nets: by net, by what was hidden (`PART` or `RANDOM`), by layer.
    """

    part: str
    pictures: int
    nets: Mapping[str, Mapping[str, Mapping[str, Consistency]]]


def describe(rows: Sequence[Hidden]) -> list[dict[str, Any]]:
    """The table as JSON data, an object for each number."""
    return [
        {
            "part": row.part,
            "pictures": row.pictures,
            "net": net,
            "hidden": hidden,
            "layer": layer,
            **found._asdict(),
        }
        for row in rows
        for net, each in row.nets.items()
        for hidden, layers in each.items()
        for layer, found in layers.items()
    ]


class _Column(NamedTuple):
    """One column: its headings from above, and the key of its numbers."""

    net: str
    layer: str
    hidden: str


def _columns(rows: Sequence[Hidden]) -> list[_Column]:
    return [
        _Column(net, layer, hidden)
        for net, each in rows[0].nets.items()
        for layer in each[PART]
        for hidden in each
    ]


def _cells(rows: Sequence[Hidden]) -> list[list[str]]:
    """The lines of the table: a name and a number for each column."""
    columns = _columns(rows)
    found = [[row.nets[c.net][c.hidden][c.layer] for c in columns] for row in rows]
    lines = [
        [row.part, *(f"{each.mean:.3f} ± {each.std:.3f}" for each in line)]
        for row, line in zip(rows, found, strict=True)
    ]
    if len(rows) > 1:
        means = np.mean([[each.mean for each in line] for line in found], axis=0)
        lines.append([_MEAN, *(f"{mean:.3f}" for mean in means)])
    return lines


def as_text(rows: Sequence[Hidden], title: str) -> str:
    """The table as lines of text, for a terminal or a file."""
    columns, lines = _columns(rows), _cells(rows)
    heads = [["", *each] for each in zip(*columns, strict=True)]
    for head in heads:
        for place in range(len(head) - 1, 0, -1):  # a heading stands once over its columns
            if head is not heads[-1] and head[place] == head[place - 1]:
                head[place] = ""
    table = [*heads, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    text.insert(len(heads), "-" * (sum(widths) + 2 * len(columns)))
    nets, layers = (dict.fromkeys(each) for each in list(zip(*columns, strict=True))[:2])
    compared = [comparison(rows, net, layer) for net in nets for layer in layers]
    return "\n".join([title, "", *text, "", *compared]) + "\n"


def table_picture(rows: Sequence[Hidden], title: str, path: Path) -> None:
    """Draws the table in the manner of Zeiler & Fergus 2014, Table 1 (v3).

    Args:
      rows: the parts.
      title: what the numbers are, in a line.
      path: the picture to write.
    """
    columns, lines = _columns(rows), _cells(rows)
    first, wide = 0.085 * max(len(line[0]) for line in lines) + 0.25, 1.2
    width, height = first + wide * len(columns) + 0.3, _ROW * (len(lines) + 4.6)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    middles = [0.15 + first + wide * (place + 0.5) for place in range(len(columns))]

    def write(x: float, line: float, text: str, **style: Any) -> None:
        given = {"fontsize": _FONT, "color": _INK, "va": "center", **style}
        axes.text(x, _ROW * (line + 0.5), text, **given)

    def rule(
        line: float, left: float = 0.15, right: float = width - 0.15, thin: float = 0.6
    ) -> None:
        axes.plot([left, right], [_ROW * line] * 2, color=_INK, linewidth=thin)

    write(0.15, 0.2, title, color=_MUTED)
    rule(1.3, thin=1.2)
    for level, keys in enumerate(([c[:1] for c in columns], [c[:2] for c in columns])):
        for key in dict.fromkeys(keys):
            over = [middle for middle, each in zip(middles, keys, strict=True) if each == key]
            write(sum(over) / len(over), 1.4 + level, key[-1], ha="center", weight="bold")
            rule(2.35 + level, over[0] - wide * 0.45, over[-1] + wide * 0.45)
    for middle, column in zip(middles, columns, strict=True):
        write(middle, 3.4, column.hidden, ha="center", color=_MUTED)
    rule(4.4)
    for number, line in enumerate(lines):
        last = len(rows) > 1 and number == len(rows)
        if last:
            rule(4.4 + number)
        write(0.15, 4.4 + number, line[0], color=_MUTED if last else _INK)
        for middle, cell in zip(middles, line[1:], strict=True):
            write(middle, 4.4 + number, cell, ha="center", color=_MUTED if last else _INK)
    rule(4.4 + len(lines), thin=1.2)
    figure.savefig(path, dpi=150)


def comparison(rows: Sequence[Hidden], net: str, layer: str) -> str:
    """In a line, for how many parts the mean is lower than at random places."""

    def lower(measure: Callable[[Consistency], float]) -> int:
        pairs = [(row.nets[net][PART][layer], row.nets[net][RANDOM][layer]) for row in rows]
        return sum(measure(part) < measure(elsewhere) for part, elsewhere in pairs)

    return (
        f"{net}, {layer}: {lower(lambda each: each.mean)} of {len(rows)} parts are more consistent "
        f"than random places, {lower(_over_chance)} as shares of chance"
    )


def _over_chance(found: Consistency) -> float:
    return found.mean / found.chance if found.chance else 0.0
