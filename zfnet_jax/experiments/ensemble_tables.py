"""Table 2 of Zeiler & Fergus 2014 with one's own nets: as text, and as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

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
_ONE, _FIVE = PAPER[3:5]

Scores = Mapping[int, Sequence[Mapping[str, float]]]
"""Views -> `evaluate_nets`' result: a dictionary of each net, then of their mean."""


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
            *(f"{100 * (1 - each[number][top]):.1f}" for each in scores.values() for top in TOPS),
        ]
        for number, name in enumerate(_with_mean(names, scores))
    ]
    empty = [""] * (len(head) - 3)
    rows += [[name, *empty, f"{100 * top1:.1f}", f"{100 * top5:.1f}"] for name, top1, top5 in PAPER]
    return markdown_table(head, rows)


def views(count: int) -> str:
    """A number of views in words."""
    return "1 view" if count == 1 else f"{count} views"


def plot(names: Sequence[str], scores: Scores, path: Path) -> None:
    """Draws the error of each net and of their mean, by views, and the paper's.

    Args:
      names: the nets'.
      scores: as for `table`.
      path: the picture to write.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    columns = [*map(views, scores), "paper, 10 views"]
    for number, (axes, top) in enumerate(zip(figure.subplots(1, 2), TOPS, strict=True), 1):
        for place, rows in enumerate(scores.values()):
            errors = [1 - row[top] for row in rows]
            axes.plot([place] * len(names), errors[: len(names)], "o", color="#8c8c8c", alpha=0.7)
            axes.plot(place, errors[-1], "D", color="#c1440e")
        axes.plot(len(scores), _ONE[number], "o", color="#8c8c8c", label="one net")
        axes.plot(len(scores), _FIVE[number], "D", color="#c1440e", label="mean of all")
        axes.set_xticks(range(len(columns)), columns)
        axes.set(title=f"{top[:3]}-{top[3:]} error", xlim=(-0.5, len(columns) - 0.5))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _with_mean(names: Sequence[str], scores: Scores) -> list[str]:
    rows = len(next(iter(scores.values())))
    return [*names, *[f"mean of {len(names)}"] * (rows > len(names))]
