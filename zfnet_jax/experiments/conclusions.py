"""The conclusions of Zeiler & Fergus 2014 from Table 3, as margins for any table of that form."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

from zfnet_jax.experiments.ablation import ABLATIONS, Errors
from zfnet_jax.experiments.spread import spread


class Conclusion(NamedTuple):
    """A conclusion of the paper from Table 3, as a number that is positive where it holds.

    Attributes:
      text: the conclusion.
      models: the names of the models that it compares.
      margin: a function of their errors: by how much it holds, in errors, 0..1.
      premise: a function of their errors: how much the error grows when the layers in question are
        removed; where it does not, there is nothing to conclude. None where none are removed.
    """

    text: str
    models: tuple[str, ...]
    margin: Callable[..., float]
    premise: Callable[..., float] | None = None


def _costs_little(base: Errors, some: Errors, every: Errors) -> float:
    """Taking out some layers costs less than half of what taking out all of them costs."""
    return (every.val_top1 - base.val_top1) / 2 - (some.val_top1 - base.val_top1)


def _matters_little(base: Errors, resized: Errors, without: Errors) -> float:
    """Another width changes less than taking the layers out costs."""
    return (without.val_top1 - base.val_top1) - abs(resized.val_top1 - base.val_top1)


def _cost_of_last(base: Errors, *others: Errors) -> float:
    """How much the last net compared, with most layers removed, is worse."""
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
    """A conclusion, and by how much it holds.

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
        """In words; "holds" only where the mean margin's 95 % confidence interval is above 0."""
        from scipy.special import stdtrit  # slow to import

        if not self.margins:
            return "models missing"
        if self.premises and statistics.fmean(self.premises) <= 0:
            return "no subject: removing them costs nothing"
        mean, standard_deviation = spread(self.margins)
        verdict = "holds" if mean > 0 else "does not hold"
        if standard_deviation is None:
            return f"{verdict} (one seed)"
        count = len(self.margins)
        half_interval = stdtrit(count - 1, 0.975) * standard_deviation / math.sqrt(count)
        return verdict if abs(mean) > half_interval else f"undecided ({count} seeds)"


def judge(errors: Mapping[int, Mapping[str, Errors]]) -> list[Judgement]:
    """Evaluates the paper's conclusions for given errors, seed by seed.

    Args:
      errors: seed -> model's name -> its errors; models may be missing.

    Returns:
      A judgement of each of `CONCLUSIONS`.
    """
    paper, judgements = {ablation.name: ablation.paper for ablation in ABLATIONS}, []
    for text, names, margin, premise in CONCLUSIONS:
        compared = [
            [by_model[name] for name in names]
            for by_model in errors.values()
            if all(name in by_model for name in names)
        ]
        margins = tuple(margin(*models) for models in compared)
        premises = tuple(premise(*models) for models in compared) if premise else ()
        in_paper = margin(*(paper[name] for name in names))
        judgements.append(Judgement(text, margins, premises, in_paper))
    return judgements
