"""One number of several folds or seeds."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation, which a single value does not have."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
