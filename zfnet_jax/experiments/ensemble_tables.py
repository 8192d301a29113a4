"""Table 2 of Zeiler & Fergus 2014 for one's own nets: as text, and as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zfnet_jax.report.tables import markdown_table

PAPER = (
    ("paper: Krizhevsky, 1 net", 0.407, 0.182),
    ("paper: Krizhevsky, 5 nets", 0.381, 0.164),
    ("paper: replication of Krizhevsky, 1 net", 0.405, 0.181),
    ("paper: 1 net as Fig 3", 0.384, 0.165),
    ("paper: 5 nets as Fig 3 (a)", 0.367, 0.153),
    ("paper: 1 net, layers 3,4,5 wider (b)", 0.375, 0.160),
    ("paper: 6 nets, (a) and (b)", 0.360, 0.147),
)
"""The paper's ImageNet 2012 validation errors, top-1 and top-5, with ten views."""

TOPS = ("top1", "top5")
_PAPER_ONE, _PAPER_FIVE = PAPER[3][1:], PAPER[4][1:]

Scores = Mapping[int, Sequence[Mapping[str, float]]]
"""By number of views, what `evaluate_nets` returns: the scores of each net, then of their mean."""


def table(names: Sequence[str], scores: Scores) -> str:
    """The validation errors in percent, in Markdown.

    Args:
      names: the nets'; the mean of several follows them.
      scores: of 1 and 10 views.
    """
    head = ["net", *(f"{top}, {views(n)}" for n in scores for top in ("top-1", "top-5"))]
    rows = [
        [
            name,
            *(f"{100 * (1 - nets[number][top]):.1f}" for nets in scores.values() for top in TOPS),
        ]
        for number, name in enumerate(_with_mean(names, scores))
    ]
    empty = [""] * (len(head) - 3)
    rows += [[name, *empty, f"{100 * top1:.1f}", f"{100 * top5:.1f}"] for name, top1, top5 in PAPER]
    return markdown_table(head, rows)


def views(count: int) -> str:
    """A number of views in words."""
    return "1 view" if count == 1 else f"{count} views"


def plot(names: Sequence[str], scores: Scores, path: Path, *, paper: bool = False) -> None:
    """Draws the error of each net and of their mean, by views.

    Args:
      names: the nets'.
      scores: as for `table`.
      path: the picture to write.
      paper: whether the paper's errors, on ImageNet, are drawn beside them.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    columns = [*map(views, scores), *["paper, 10 views"] * paper]
    for number, (axes, top) in enumerate(zip(figure.subplots(1, 2), TOPS, strict=True)):
        for column, rows in enumerate(scores.values()):
            errors = [1 - row[top] for row in rows]
            _draw(axes, column, errors[: len(names)], errors[-1])
        if paper:
            _draw(axes, len(scores), [_PAPER_ONE[number]], _PAPER_FIVE[number])
        axes.set_xticks(range(len(columns)), columns)
        axes.set(title=f"{top[:3]}-{top[3:]} error", xlim=(-0.5, len(columns) - 0.5))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(axes.lines[:2], ["one net", "mean of all"], frameon=False)
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, column: int, errors: Sequence[float], of_mean: float) -> None:
    axes.plot([column] * len(errors), errors, "o", color="#8c8c8c", alpha=0.7)
    axes.plot(column, of_mean, "D", color="#c1440e")


def _with_mean(names: Sequence[str], scores: Scores) -> list[str]:
    rows = len(next(iter(scores.values())))
    return [*names, *[f"mean of {len(names)}"] * (rows > len(names))]
