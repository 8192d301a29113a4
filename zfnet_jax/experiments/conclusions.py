"""What Zeiler & Fergus 2014 conclude from Table 3, as margins for any table of that form."""

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
    """

    text: str
    of: tuple[str, ...]
    margin: Callable[..., float]


def _costs_little(base: Errors, some: Errors, every: Errors) -> float:
    """Taking out some layers costs less than half of what taking out all of them costs."""
    return (every.val_top1 - base.val_top1) / 2 - (some.val_top1 - base.val_top1)


def _matters_little(base: Errors, resized: Errors, without: Errors) -> float:
    """Another width changes less than taking the layers out costs."""
    return (without.val_top1 - base.val_top1) - abs(resized.val_top1 - base.val_top1)


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
    ),
    Conclusion(
        "removing 6,7 costs less than half of what removing 3,4,6,7 costs",
        ("alexnet", "alexnet-without-6-7", "alexnet-without-3-4-6-7"),
        _costs_little,
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
    ),
    Conclusion(
        "half the width of 6,7 changes less than removing them",
        ("alexnet", "alexnet-half-6-7", "alexnet-without-6-7"),
        _matters_little,
    ),
    Conclusion(
        "double the width of 6,7 changes less than removing them",
        ("alexnet", "alexnet-double-6-7", "alexnet-without-6-7"),
        _matters_little,
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
      paper: by how much it holds in the paper.
    """

    text: str
    margins: tuple[float, ...]
    paper: float

    @property
    def verdict(self) -> str:
        """One mean margin against the seeds' spread, in words."""
        if not self.margins:
            return "models missing"
        mean, deviation = spread(self.margins)
        if deviation is not None and abs(mean) <= deviation:
            return "within spread"
        found = "holds" if mean > 0 else "does not hold"
        return found if deviation is not None else f"{found} (one seed)"


def judge(errors: Mapping[int, Mapping[str, Errors]]) -> list[Judgement]:
    """Puts errors into the paper's conclusions, seed by seed.

    Args:
      errors: seed -> model's name -> its errors; models may be missing.

    Returns:
      A judgement of each of `CONCLUSIONS`.
    """
    paper = {each.name: each.paper for each in ABLATIONS}
    return [
        Judgement(
            each.text,
            tuple(
                each.margin(*(models[name] for name in each.of))
                for models in errors.values()
                if all(name in models for name in each.of)
            ),
            each.margin(*(paper[name] for name in each.of)),
        )
        for each in CONCLUSIONS
    ]
