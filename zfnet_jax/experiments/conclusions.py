"""What Zeiler & Fergus 2014 conclude from Table 3, as margins for any table of that form."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

from zfnet_jax.experiments.ablation import ABLATIONS, Errors
from zfnet_jax.experiments.spread import spread


class Conclusion(NamedTuple):
    """What the paper concludes from Table 3, as a number that is positive where it holds.

    Attributes:
      text: the conclusion.
      of: the models that it is about.
      margin: their errors -> by how much it holds, in errors, 0..1.
      premise: their errors -> what the layers that it is about cost when they are removed, in
        errors; where that is nothing, there is nothing to conclude. None without such layers.
    """

    text: str
    of: tuple[str, ...]
    margin: Callable[..., float]
    premise: Callable[..., float] | None = None


def _costs_little(base: Errors, some: Errors, every: Errors) -> float:
    """Taking out some layers costs less than half of what taking out all of them costs."""
    return (every.val_top1 - base.val_top1) / 2 - (some.val_top1 - base.val_top1)


def _matters_little(base: Errors, resized: Errors, without: Errors) -> float:
    """Another width changes less than taking the layers out costs."""
    return (without.val_top1 - base.val_top1) - abs(resized.val_top1 - base.val_top1)


def _cost_of_last(base: Errors, *others: Errors) -> float:
    """What the net with the most taken out, the last of those compared, loses."""
    return others[-1].val_top1 - base.val_top1


CONCLUSIONS = (
    Conclusion(
        "Fig 3 is better than the replication of Krizhevsky",
        ("alexnet", "zfnet"),
        lambda alexnet, zfnet: alexnet.val_top1 - zfnet.val_top1,
    ),
    Conclusion(
        "removing 3,4 costs less than half of what removing 3,4,6,7 costs",
        ("alexnet", "alexnet-without-3-4", "alexnet-without-3-4-6-7"),
        _costs_little,
        _cost_of_last,
    ),
    Conclusion(
        "removing 6,7 costs less than half of what removing 3,4,6,7 costs",
        ("alexnet", "alexnet-without-6-7", "alexnet-without-3-4-6-7"),
        _costs_little,
        _cost_of_last,
    ),
    Conclusion(
        "removing 3,4,6,7 costs more than removing 3,4 and removing 6,7 together",
        (
            *("alexnet", "alexnet-without-3-4", "alexnet-without-6-7"),
            "alexnet-without-3-4-6-7",
        ),
        lambda base, middle, top, every: (
            every.val_top1 - middle.val_top1 - top.val_top1 + base.val_top1
        ),
        _cost_of_last,
    ),
    Conclusion(
        "half the width of 6,7 changes less than removing them costs",
        ("alexnet", "alexnet-half-6-7", "alexnet-without-6-7"),
        _matters_little,
        _cost_of_last,
    ),
    Conclusion(
        "double the width of 6,7 changes less than removing them costs",
        ("alexnet", "alexnet-double-6-7", "alexnet-without-6-7"),
        _matters_little,
        _cost_of_last,
    ),
    Conclusion(
        "wider 3,4,5 help",
        ("zfnet", "zfnet-wide-3-4-5"),
        lambda zfnet, wide: zfnet.val_top1 - wide.val_top1,
    ),
    Conclusion(
        "with 6,7 doubled as well, they fit the training set better",
        ("zfnet-wide-3-4-5", "zfnet-wide-3-4-5-double-6-7"),
        lambda wide, both: wide.train_top1 - both.train_top1,
    ),
    Conclusion(
        "and the validation set worse",
        ("zfnet-wide-3-4-5", "zfnet-wide-3-4-5-double-6-7"),
        lambda wide, both: both.val_top1 - wide.val_top1,
    ),
)


class Judgement(NamedTuple):
    """How a conclusion fares.

    Attributes:
      text: the conclusion.
      margins: by how much it holds for each seed whose models are all there, 0..1.
      premises: by how much its premise holds, for the same seeds; empty where it has none.
      paper: by how much it holds in the paper.
    """

    text: str
    margins: tuple[float, ...]
    premises: tuple[float, ...]
    paper: float

    @property
    def verdict(self) -> str:
        """In words; "holds" only where 95 % confidence in the mean margin leaves no doubt of it."""
        from scipy.special import stdtrit  # slow to import

        if not self.margins:
            return "models missing"
        if self.premises and statistics.fmean(self.premises) <= 0:
            return "no subject: removing them costs nothing"
        mean, standard_deviation = spread(self.margins)
        found = "holds" if mean > 0 else "does not hold"
        if standard_deviation is None:
            return f"{found} (one seed)"
        count = len(self.margins)
        doubt = stdtrit(count - 1, 0.975) * standard_deviation / math.sqrt(count)
        return found if abs(mean) > doubt else f"undecided ({count} seeds)"


def judge(errors: Mapping[int, Mapping[str, Errors]]) -> list[Judgement]:
    """Puts errors into the paper's conclusions, seed by seed.

    Args:
      errors: seed -> model's name -> its errors; models may be missing.

    Returns:
      A judgement of each of `CONCLUSIONS`.
    """
    paper, judgements = {each.name: each.paper for each in ABLATIONS}, []
    for each in CONCLUSIONS:
        compared = [
            [models[name] for name in each.of]
            for models in errors.values()
            if all(name in models for name in each.of)
        ]
        margins = tuple(each.margin(*found) for found in compared)
        premises = tuple(each.premise(*found) for found in compared) if each.premise else ()
        by_paper = each.margin(*(paper[name] for name in each.of))
        judgements.append(Judgement(each.text, margins, premises, by_paper))
    return judgements
