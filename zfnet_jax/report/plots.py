"""Plots of a run's record."""

from pathlib import Path
from typing import Any

from zfnet_jax.report.figures import new_figure, plain


def training_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Draws loss and top-1 error over epochs, training and validation.

    Args:
      lines: of metrics.jsonl.
      path: the picture to write.
    """
    # Slow to import, and used only when a run ends.
    from matplotlib.ticker import PercentFormatter

    figure = new_figure(9, 3.6)
    loss, error = figure.subplots(1, 2)
    for split, colour, label in (
        ("train", "#8c8c8c", "training"),
        ("val", "#c1440e", "validation"),
    ):
        of_split = [line for line in lines if line["split"] == split]
        epochs = [line["epoch"] for line in of_split]
        style = {"color": colour, "label": label, "linewidth": 1.5}
        if split == "val":
            style |= {"marker": "o", "markersize": 3}
        loss.plot(epochs, [line["loss"] for line in of_split], **style)
        error.plot(epochs, [1 - line["top1"] for line in of_split], **style)
    loss.set(xlabel="epoch", ylabel="cross-entropy", title="Loss", ylim=(0, None))
    error.set(xlabel="epoch", ylabel="top-1 error", title="Top-1 error", ylim=(0, 1))
    error.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (loss, error):
        plain(axes)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
