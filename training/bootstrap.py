"""The bootstrap (Efron and Tibshirani 1993): what other samples of the same size could have shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
SEED = 7
MIDDLE = (0.025, 0.975)  # quantiles around 95 %


def resample(counts: Sequence[int] | NDArray[np.integer], times: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many rows again, with replacement, `times` over; only the counts [k] of rows that are alike matter.

    To draw rows is to draw how many are of each kind, so that a resample costs k numbers, however many rows there are.

    Returns:
        Counts [times, k]; each line has the sum of `counts`.

    """
    rows = int(np.sum(counts))
    drawn: NDArray[np.int64] = random.multinomial(rows, np.asarray(counts) / rows, times)
    return drawn


def middle(values: NDArray[np.float64]) -> list[float]:
    """Give the ends [low, high] of the middle 95 % of what the resamples [times] show; those without a value (NaN) do not count."""
    return [float(end) for end in np.nanquantile(values, MIDDLE)]
