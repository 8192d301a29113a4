"""Table 3 of Zeiler & Fergus 2014 for one's own nets: as text, as JSON data, as a figure."""

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
"""Parts of the experiment's record, one for each trained model and seed."""

_TRAIN, _VAL = "#8c8c8c", "#c1440e"


def table(parts: Parts) -> str:
    """The table in Markdown, errors in percent, mean ± spread over seeds, the paper's beside them.

    Args:
      parts: at least one; models without any are left out.

    Returns:
      The table, then one of the paper's conclusions.
    """
    head = [
        *("model", "seeds", "train top-1, 1 view", "val top-1, 1 view", "val top-5, 1 view"),
        *("paper: train top-1", "val top-1", "val top-5"),
        *("parameters", "paper's size, 1,000 classes", "minutes"),
    ]
    rows = [
        [
            ablation.title,
            str(len(trained)),
            *(percent(*spread(_column(trained, name))) for name in Errors._fields),
            *(f"{100 * error:.1f}" for error in ablation.paper),
            f"{trained[0]['parameters']:,}",
            f"{ablation.of(ZFNET).parameter_count(1000):,}",
            f"{statistics.fmean(part['seconds'] for part in trained) / 60:.1f}",
        ]
        for ablation, trained in _by_model(parts)
    ]
    judged = [
        [
            judgement.text,
            percent(*spread(judgement.margins), sign="+"),
            f"{100 * judgement.paper:+.1f}",
            judgement.verdict,
        ]
        for judgement in judge(_by_seed(parts))
        if judgement.margins
    ]
    tables = [markdown_table(head, rows)]
    if judged:
        tables.append(markdown_table(["the paper's conclusion", "by", "paper", "here"], judged))
    return "\n\n".join(tables)


def to_json(parts: Parts) -> dict[str, Any]:
    """The table as plain JSON data, errors 0..1; a spread is None where there is one seed."""
    return {
        "models": [
            {
                "name": ablation.name,
                "title": ablation.title,
                "parameters": trained[0]["parameters"],
                "parameters_at_1000_classes": ablation.of(ZFNET).parameter_count(1000),
                "seeds": [part["seed"] for part in trained],
                "mean": {n: spread(_column(trained, n))[0] for n in Errors._fields},
                "spread": {n: spread(_column(trained, n))[1] for n in Errors._fields},
                "paper": {**ablation.paper._asdict(), "parameters": ablation.paper_parameters},
            }
            for ablation, trained in _by_model(parts)
        ],
        "conclusions": [
            {
                "text": judgement.text,
                "margins": list(judgement.margins),
                "premises": list(judgement.premises),
                "mean": spread(judgement.margins)[0] if judgement.margins else None,
                "spread": spread(judgement.margins)[1] if judgement.margins else None,
                "paper": judgement.paper,
                "verdict": judgement.verdict,
            }
            for judgement in judge(_by_seed(parts))
        ],
        "runs": [dict(part) for part in parts],
    }


def plot(parts: Parts, title: str, path: Path, *, paper: bool = False) -> None:
    """Draws training and validation top-1 error of every model.

    Args:
      parts: at least one.
      title: of the panel of one's own numbers.
      path: the picture to write.
      paper: whether the paper's errors, on ImageNet, are drawn in a panel beside them.
    """
    rows = _by_model(parts)
    figure = Figure(figsize=(11 if paper else 7, 1.4 + 0.34 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 1 + paper, sharey=True, squeeze=False)[0]
    for line, (ablation, trained) in enumerate(rows):
        errors = [errors_of(part) for part in trained], [ablation.paper]
        for axes, values in zip(panels, errors, strict=False):
            _row(axes, line, values)
    panels[0].set(title=title, ylim=(len(rows) - 0.4, -0.6))
    panels[0].set_yticks(range(len(rows)), [ablation.title for ablation, _ in rows])
    if paper:
        panels[1].set(title="Zeiler & Fergus 2014, Table 3 (ImageNet)")
    for axes in panels:
        axes.set(xlabel="top-1 error", xlim=(0, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    handles = [panels[-1].plot([], [], "o", color=colour)[0] for colour in (_TRAIN, _VAL)]
    panels[-1].legend(handles, ["training", "validation"], frameon=False)
    figure.savefig(path, dpi=120)


def _row(axes: Axes, line: int, errors: Sequence[Errors]) -> None:
    """One model: a dot for each error, its spread over seeds, and the gap between them."""
    train, val, _ = zip(*errors, strict=True)
    spreads = [spread(train), spread(val)]
    axes.plot([mean for mean, _ in spreads], [line] * 2, color="#d0d0d0", linewidth=2, zorder=1)
    for (mean, standard_deviation), colour in zip(spreads, (_TRAIN, _VAL), strict=True):
        axes.errorbar(
            mean, line, xerr=standard_deviation, fmt="o", color=colour, markersize=5, capsize=3
        )


def _column(parts: Parts, name: str) -> list[float]:
    return [part[name] for part in parts]


def _by_model(parts: Parts) -> list[tuple[Ablation, Parts]]:
    """The models that there are, in the paper's order, with their parts in that of the seeds."""
    ordered = sorted(parts, key=lambda part: part["seed"])
    rows = [
        (ablation, [part for part in ordered if part["model"] == ablation.name])
        for ablation in ABLATIONS
    ]
    return [(ablation, trained) for ablation, trained in rows if trained]


def _by_seed(parts: Parts) -> dict[int, dict[str, Errors]]:
    seeds = sorted({part["seed"] for part in parts})
    return {
        seed: {part["model"]: errors_of(part) for part in parts if part["seed"] == seed}
        for seed in seeds
    }
