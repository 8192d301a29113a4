"""The figure of how often occlusion points at the object."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zfnet_jax.analysis.pointing import Pointing, means
from zfnet_jax.report.figures import new_figure

_COLOURS = ("#c1440e", "#8c8c8c")
_KINDS = {
    "centre": "centre of\nthe square",
    "peak": "peak of\nthe mean",
    "touches": "the square\ntouches it",
}


def draw(results: Mapping[str, Sequence[Pointing]], path: Path) -> None:
    """Draws the shares of pictures that hit, and the histogram of correlations.

    Args:
      results: by net, of the same pictures; at most two.
      path: the picture to write.
    """
    figure = new_figure(9, 3.8)
    hits, correlations = figure.subplots(1, 2)
    nets = list(results.values())
    count, bins = len(nets[0]), np.linspace(-1, 1, 41).tolist()
    for number, (name, colour) in enumerate(zip(results, _COLOURS, strict=False)):
        shares = means(results[name])
        places = np.arange(len(_KINDS)) + 0.38 * (number - 0.5)
        heights = [shares[kind] for kind in _KINDS]
        bars = hits.bar(places, heights, 0.36, color=colour, label=name)
        numbers = [f"{round(height * count)} of {count}" for height in heights]
        hits.bar_label(bars, labels=numbers, fontsize=7)
        values = [result.correlation for result in results[name]]
        correlations.hist(values, bins, color=colour, alpha=0.7, label=name)
    shares = means(nets[0])
    for height, style, label in (
        (shares["chance"], ":", "centres, by chance"),
        (shares["fullest"], "--", "centre, most hidden"),
    ):
        hits.axhline(height, color="black", linewidth=1, linestyle=style, label=label)
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    hits.set(title=f"On the object, share of {pictures}", ylim=(0, 1.5), yticks=[0, 0.5, 1])
    hits.set_xticks(range(len(_KINDS)), list(_KINDS.values()))
    correlations.set(
        title=f"Drop of P(class) and hidden area, {pictures}",
        xlabel="correlation",
        ylabel="pictures",
        xticks=[-1, -0.5, 0, 0.5, 1],
    )
    correlations.yaxis.get_major_locator().set_params(integer=True)
    for axes in (hits, correlations):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def summary(results: Mapping[str, Sequence[Pointing]]) -> str:
    """The same shares as text, a line for each net and one of what they are to be compared with."""
    lines = []
    for name, of_net in results.items():
        shares = means(of_net)
        lines.append(
            f"{name}: centre of the square on the object {shares['centre']:.1%}, peak of the mean "
            f"{shares['peak']:.1%}, square touches it {shares['touches']:.1%}, correlation "
            f"{shares['correlation']:.2f}"
        )
    shares = means(next(iter(results.values())))
    lines.append(
        f"on the object are also {shares['chance']:.1%} of all squares' centres, and "
        f"{shares['fullest']:.1%} of those of the squares that hide the most of it"
    )
    return "\n".join(lines)
