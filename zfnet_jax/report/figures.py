"""Matplotlib figures, without a display; matplotlib is imported when the first is drawn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, layout: Any = "constrained") -> "Figure":
    """An empty figure.

    Args:
      width: in inches.
      height: in inches.
      layout: of matplotlib's `Figure`; None leaves the axes where they are put.
    """
    # Half a second, which a command's --help need not wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def plain(axes: "Axes") -> None:
    """Leaves an axes its left and lower line and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
