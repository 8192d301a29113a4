"""Table 3 of Zeiler & Fergus 2014 with one's own numbers: as text, as JSON data, as a figure."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from zfnet_jax.experiments.ablation import ABLATIONS, Ablation, Errors, errors_of
from zfnet_jax.experiments.conclusions import judge
from zfnet_jax.experiments.spread import spread
from zfnet_jax.report.tables import markdown_table, percent
from zfnet_jax.zfnet.architecture import ZFNET

Parts = Sequence[Mapping[str, Any]]
"""Of the experiment's record, a trained model each."""

_TRAIN, _VAL = "#8c8c8c", "#c1440e"


def table(parts: Parts) -> str:
    """The table in Markdown, errors in percent, mean ± spread over seeds, the paper's beside them.

    Args:
      parts: at least one; models without any are left out.

    Returns:
      Aligned lines, then those of the paper's conclusions.
    """
    head = [
        *("model", "seeds", "train top-1, 1 view", "val top-1, 1 view", "val top-5, 1 view"),
        *("paper: train top-1", "val top-1", "val top-5"),
        *("parameters", "paper's size, 1,000 classes", "minutes"),
    ]
    rows = [
        [
            ablation.title,
            str(len(mine)),
            *(percent(*spread(_column(mine, name))) for name in Errors._fields),
            *(f"{100 * error:.1f}" for error in ablation.paper),
            f"{mine[0]['parameters']:,}",
            f"{ablation.of(ZFNET).parameter_count(1000):,}",
            f"{statistics.fmean(part['seconds'] for part in mine) / 60:.1f}",
        ]
        for ablation, mine in _by_model(parts)
    ]
    judged = [
        [
            each.text,
            percent(*spread(each.margins), sign="+"),
            f"{100 * each.paper:+.1f}",
            each.verdict,
        ]
        for each in judge(_by_seed(parts))
        if each.margins
    ]
    tables = [markdown_table(head, rows)]
    if judged:
        tables.append(markdown_table(["the paper's conclusion", "by", "paper", "here"], judged))
    return "\n\n".join(tables)


def describe(parts: Parts) -> dict[str, Any]:
    """The table as plain JSON data, errors 0..1; a spread is None where there is one seed."""
    return {
        "models": [
            {
                "name": ablation.name,
                "title": ablation.title,
                "parameters": mine[0]["parameters"],
                "parameters_at_1000_classes": ablation.of(ZFNET).parameter_count(1000),
                "seeds": [part["seed"] for part in mine],
                "mean": {n: spread(_column(mine, n))[0] for n in Errors._fields},
                "spread": {n: spread(_column(mine, n))[1] for n in Errors._fields},
                "paper": {**ablation.paper._asdict(), "parameters": ablation.paper_parameters},
            }
            for ablation, mine in _by_model(parts)
        ],
        "conclusions": [
            {
                "text": each.text,
                "margins": list(each.margins),
                "premises": list(each.premises),
                "mean": spread(each.margins)[0] if each.margins else None,
                "spread": spread(each.margins)[1] if each.margins else None,
                "paper": each.paper,
                "verdict": each.verdict,
            }
            for each in judge(_by_seed(parts))
        ],
        "runs": [dict(part) for part in parts],
    }


def plot(parts: Parts, title: str, path: Path) -> None:
    """Draws training and validation top-1 error of every model, here and in the paper.

    Args:
      parts: at least one.
      title: of the panel of one's own numbers.
      path: the picture to write.
    """
    rows = _by_model(parts)
    figure = Figure(figsize=(11, 1.4 + 0.34 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    here, paper = figure.subplots(1, 2, sharey=True)
    for place, (ablation, mine) in enumerate(rows):
        _row(here, place, [errors_of(part) for part in mine])
        _row(paper, place, [ablation.paper])
    here.set(title=title, ylim=(len(rows) - 0.4, -0.6))
    here.set_yticks(range(len(rows)), [ablation.title for ablation, _ in rows])
    paper.set(title="Zeiler & Fergus 2014, Table 3 (ImageNet)")
    for axes in (here, paper):
        axes.set(xlabel="top-1 error", xlim=(0, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    handles = [here.plot([], [], "o", color=colour)[0] for colour in (_TRAIN, _VAL)]
    paper.legend(handles, ["training", "validation"], frameon=False)
    figure.savefig(path, dpi=120)


def _row(axes: Axes, place: int, errors: Sequence[Errors]) -> None:
    """One model: a dot for each error, its spread over seeds, and the gap between them."""
    train, val, _ = zip(*errors, strict=True)
    found = [spread(train), spread(val)]
    axes.plot([mean for mean, _ in found], [place] * 2, color="#d0d0d0", linewidth=2, zorder=1)
    for (mean, standard_deviation), colour in zip(found, (_TRAIN, _VAL), strict=True):
        axes.errorbar(
            mean, place, xerr=standard_deviation, fmt="o", color=colour, markersize=5, capsize=3
        )


def _column(parts: Parts, name: str) -> list[float]:
    return [part[name] for part in parts]


def _by_model(parts: Parts) -> list[tuple[Ablation, Parts]]:
    """The models that there are, in the paper's order, with their parts in that of the seeds."""
    ordered = sorted(parts, key=lambda part: part["seed"])
    found = [(each, [part for part in ordered if part["model"] == each.name]) for each in ABLATIONS]
    return [(ablation, mine) for ablation, mine in found if mine]


def _by_seed(parts: Parts) -> dict[int, dict[str, Errors]]:
    seeds = sorted({part["seed"] for part in parts})
    return {
        seed: {part["model"]: errors_of(part) for part in parts if part["seed"] == seed}
        for seed in seeds
    }
