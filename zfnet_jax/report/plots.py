"""Plots of a run's record."""

from pathlib import Path
from typing import Any


def training_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Draws loss and top-1 error over epochs, training and validation.

    Args:
      lines: of metrics.jsonl.
      path: the picture to write.
    """
    # Slow to import, and used only when a run ends.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, error = figure.subplots(1, 2)
    for split, colour, label in (
        ("train", "#8c8c8c", "training"),
        ("val", "#c1440e", "validation"),
    ):
        mine = [line for line in lines if line["split"] == split]
        epochs = [line["epoch"] for line in mine]
        style = {"color": colour, "label": label, "linewidth": 1.5}
        if split == "val":
            style |= {"marker": "o", "markersize": 3}
        loss.plot(epochs, [line["loss"] for line in mine], **style)
        error.plot(epochs, [1 - line["top1"] for line in mine], **style)
    loss.set(xlabel="epoch", ylabel="cross-entropy", title="Loss", ylim=(0, None))
    error.set(xlabel="epoch", ylabel="top-1 error", title="Top-1 error", ylim=(0, 1))
    error.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (loss, error):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
