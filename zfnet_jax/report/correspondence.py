"""The table of how consistently a net answers to hidden parts, as text, picture and JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zfnet_jax.analysis.correspondence import Consistency
from zfnet_jax.analysis.hidden_parts import PART, RANDOM, HiddenPart
from zfnet_jax.report.figures import new_figure
from zfnet_jax.report.tables import plain_table

_MEAN = "mean of the parts"
_INK, _MUTED = "#1b1b1b", "#686868"
_ROW = 0.26  # inches
_FONT = 9.5


def describe(rows: Sequence[HiddenPart]) -> list[dict[str, Any]]:
    """The table as JSON data, an object for each number."""
    return [
        {
            "part": row.name,
            "pictures": row.pictures,
            "net": net,
            "hidden": hidden,
            "layer": layer,
            **measured._asdict(),
        }
        for row in rows
        for net, by_hidden in row.nets.items()
        for hidden, layers in by_hidden.items()
        for layer, measured in layers.items()
    ]


class _Column(NamedTuple):
    """One column: its headings from above, and the key of its numbers."""

    net: str
    layer: str
    hidden: str


def _columns(rows: Sequence[HiddenPart]) -> list[_Column]:
    return [
        _Column(net, layer, hidden)
        for net, by_hidden in rows[0].nets.items()
        for layer in by_hidden[PART]
        for hidden in by_hidden
    ]


def _cells(rows: Sequence[HiddenPart]) -> list[list[str]]:
    """The lines of the table: a name and a number for each column."""
    columns = _columns(rows)
    numbers = [[row.nets[c.net][c.hidden][c.layer] for c in columns] for row in rows]
    lines = [
        [row.name, *(f"{cell.mean:.3f} ± {cell.std:.3f}" for cell in line)]
        for row, line in zip(rows, numbers, strict=True)
    ]
    if len(rows) > 1:
        means = np.mean([[cell.mean for cell in line] for line in numbers], axis=0)
        lines.append([_MEAN, *(f"{mean:.3f}" for mean in means)])
    return lines


def as_text(rows: Sequence[HiddenPart], title: str) -> str:
    """The table as lines of text, for a terminal or a file."""
    columns = _columns(rows)
    heads = [["", *level] for level in zip(*columns, strict=True)]
    for head in heads[:-1]:
        for place in range(len(head) - 1, 0, -1):  # a heading stands once over its columns
            if head[place] == head[place - 1]:
                head[place] = ""
    table = plain_table([*heads, *_cells(rows)], head=len(heads))
    nets, layers = (dict.fromkeys(level) for level in list(zip(*columns, strict=True))[:2])
    compared = [comparison(rows, net, layer) for net in nets for layer in layers]
    return "\n".join([title, "", table, "", *compared]) + "\n"


def table_picture(rows: Sequence[HiddenPart], title: str, path: Path) -> None:
    """Draws the table in the manner of Zeiler & Fergus 2014, Table 1 (v3).

    Args:
      rows: the parts.
      title: what the numbers are, in a line.
      path: the picture to write.
    """
    columns, lines = _columns(rows), _cells(rows)
    first, wide = 0.085 * max(len(line[0]) for line in lines) + 0.25, 1.2
    width, height = first + wide * len(columns) + 0.3, _ROW * (len(lines) + 4.6)
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    middles = [0.15 + first + wide * (place + 0.5) for place in range(len(columns))]

    def write(x: float, line: float, text: str, **style: Any) -> None:
        options = {"fontsize": _FONT, "color": _INK, "va": "center", **style}
        axes.text(x, _ROW * (line + 0.5), text, **options)

    def rule(
        line: float, left: float = 0.15, right: float = width - 0.15, thin: float = 0.6
    ) -> None:
        axes.plot([left, right], [_ROW * line] * 2, color=_INK, linewidth=thin)

    write(0.15, 0.2, title, color=_MUTED)
    rule(1.3, thin=1.2)
    for level, keys in enumerate(([c[:1] for c in columns], [c[:2] for c in columns])):
        for key in dict.fromkeys(keys):
            over = [middle for middle, its in zip(middles, keys, strict=True) if its == key]
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


def comparison(rows: Sequence[HiddenPart], net: str, layer: str) -> str:
    """In a line, for how many parts the mean is lower than at random places."""

    def lower(measure: Callable[[Consistency], float]) -> int:
        pairs = [(row.nets[net][PART][layer], row.nets[net][RANDOM][layer]) for row in rows]
        return sum(measure(part) < measure(elsewhere) for part, elsewhere in pairs)

    return (
        f"{net}, {layer}: {lower(lambda one: one.mean)} of {len(rows)} parts are more consistent "
        f"than random places, {lower(_over_chance)} as shares of chance"
    )


def _over_chance(measured: Consistency) -> float:
    return measured.mean / measured.chance if measured.chance else 0.0
