"""The figure of how far features move when pictures are moved, enlarged and turned."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zfnet_jax.analysis.invariance_sweeps import EXAMPLE_PICTURES, Distance, Sweep
from zfnet_jax.report.figures import new_figure, plain
from zfnet_jax.report.pictures import tile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
"""Of single pictures' lines (Okabe and Ito), for `EXAMPLE_PICTURES` of them."""

_MEAN = "#c1440e"
_UNITS = {"translation": "pixels down", "scale": "times", "rotation": "degrees"}


def invariance_figure(
    sweeps: Mapping[str, Sweep],
    layers: Sequence[str],
    captions: Sequence[str],
    probability: str,
    distance: Distance,
    path: Path,
) -> None:
    """Draws Zeiler & Fergus 2014, Fig 5 (v3): a row for each transformation.

    Columns: the pictures, the distance at each layer, the probability. Up to five pictures have a
    line each; of more the mean is drawn, with a band of one standard deviation.

    Args:
      sweeps: by name.
      layers: the layers' names.
      captions: N texts, the pictures' names.
      probability: what the last column shows.
      distance: relative ones have one scale in the whole figure, plain ones one for each layer.
      path: the picture to write.
    """
    single = len(captions) <= EXAMPLE_PICTURES
    figure = new_figure(2.9 + 2.9 * (len(layers) + 1), 2.75 * len(sweeps), layout=None)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    grid = figure.subplots(
        len(sweeps), len(layers) + 2, squeeze=False, width_ratios=[0.85, *[1] * (len(layers) + 1)]
    )
    names = [f"distance at {layer}" for layer in layers]
    if distance == "relative":
        names = [f"{name} / norm" for name in names]
    tops = [
        max(_highest(sweep.distances(layer, distance), single) for sweep in sweeps.values())
        for layer in layers
    ]
    if distance == "relative":
        tops = [max(tops)] * len(layers)
    for row, (kind, sweep) in zip(grid, sweeps.items(), strict=True):
        _show_examples(row[0], sweep, single)
        row[0].set_ylabel(kind)
        curves = [sweep.distances(layer, distance) for layer in layers]
        curves.append(sweep.responses.probability)
        most = [math.inf] * len(layers) + [1.0]
        for axes, of_column, top, limit in zip(row[1:], curves, [*tops, 1], most, strict=True):
            _draw(axes, sweep.values, of_column, single, limit)
            axes.set(ylim=(0, 1.05 * top or 1), xlabel=_UNITS.get(kind, kind))
            axes.margins(x=0.02)
            plain(axes)
    for axes, name in zip(grid[0, 1:], [*names, probability], strict=True):
        axes.set_title(name, fontsize=11)
    handles, labels = grid[0, -1].get_legend_handles_labels()
    if single:
        handles, labels = grid[0, -1].get_lines(), list(captions)
    else:
        grid[0, 0].set_title(f"{EXAMPLE_PICTURES} of {len(captions)} pictures", fontsize=11)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def _draw(axes: "Axes", values: np.ndarray, curves: np.ndarray, single: bool, limit: float) -> None:
    """Lines, or their mean and its band, which ends where the values do: at 0 and the limit."""
    if single:
        for curve, colour in zip(curves, COLOURS, strict=False):
            axes.plot(values, curve, color=colour, linewidth=1.4)
        return
    mean, spread = mean_and_spread(curves)
    axes.plot(values, mean, color=_MEAN, linewidth=1.6, label="mean")
    axes.fill_between(
        values,
        np.maximum(mean - spread, 0),
        np.minimum(mean + spread, limit),
        color=_MEAN,
        alpha=0.2,
        linewidth=0,
        label="± standard deviation",
    )


def mean_and_spread(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of N curves, (N, T), and their standard deviation, (T,) float64.

    Curves that are not defined are left out; NaN where none is.
    """
    defined = curves[~np.isnan(curves[:, 0])].astype(float)
    if not len(defined):
        nothing = np.full(curves.shape[1], np.nan)
        return nothing, nothing
    return defined.mean(axis=0), defined.std(axis=0)


def _highest(curves: np.ndarray, single: bool) -> float:
    shown = curves if single else np.add(*mean_and_spread(curves))
    return float(np.nanmax(shown, initial=0))


def _show_examples(axes: "Axes", sweep: Sweep, single: bool) -> None:
    from matplotlib.colors import to_rgb

    pictures, columns, size = sweep.examples.shape[:3]
    gap = max(1, size // 32)
    mosaic = tile(sweep.examples.reshape(-1, *sweep.examples.shape[2:]), columns, gap)
    if single:  # the colour of each picture's line, beside its pictures
        strip = np.full((len(mosaic), size // 10, 3), 255, np.uint8)
        for number, colour in zip(range(pictures), COLOURS, strict=False):
            top = number * (size + gap)
            strip[top : top + size, : size // 14] = np.multiply(to_rgb(colour), 255).astype(int)
        mosaic = np.concatenate([strip, mosaic], axis=1)
    axes.imshow(mosaic, interpolation="antialiased")
    left = mosaic.shape[1] - columns * (size + gap) + gap
    places = left + (size + gap) * np.arange(columns) + size / 2
    axes.set_xticks(places, [f"{value:.3g}" for value in sweep.values[sweep.shown]])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def describe_sweep(sweep: Sweep, layers: Sequence[str]) -> dict[str, Any]:
    """A sweep's curves as JSON data: means and standard deviations over the pictures.

    A relative distance is None where no picture has one, the originals' features being all 0.
    """

    def curve(rows: np.ndarray) -> dict[str, list[float | None]]:
        mean, std = (
            [float(value) if np.isfinite(value) else None for value in of_curves]
            for of_curves in mean_and_spread(rows)
        )
        return {"mean": mean, "std": std}

    return {
        "values": sweep.values.tolist(),
        "distance": {layer: curve(sweep.distances(layer, "euclidean")) for layer in layers},
        "relative": {layer: curve(sweep.distances(layer, "relative")) for layer in layers},
        "probability": curve(sweep.responses.probability),
    }


def arrays(sweeps: Mapping[str, Sweep], labels: np.ndarray) -> dict[str, Any]:
    """The raw numbers, such as `translation_distance_conv1`, (pictures, steps)."""
    columns: dict[str, Any] = {"labels": labels}
    for kind, sweep in sweeps.items():
        columns[f"{kind}_values"] = sweep.values
        columns[f"{kind}_probability"] = sweep.responses.probability
        for layer, distance in sweep.responses.distance.items():
            columns[f"{kind}_distance_{layer}"] = distance
            columns[f"norm_{layer}"] = sweep.responses.norm[layer]
    return columns
