"""What learning curves say: the labels that a score takes, the saving against random, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from annotation.simulate_config import RANDOM

RESAMPLES = 1_000
_ENDS = (0.025, 0.975)  # quantiles around 95 %
_SEED = 7

Curve = NDArray[np.float64]  # macro-F1 at each point


@dataclass(frozen=True, slots=True)
class Curves:
    """Macro-F1 on the test texts, by strategy [seeds, points]; with one seed, every strategy starts from the same labels."""

    labels: tuple[int, ...]  # at each point
    scores: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and the ends of its 95 % bootstrap interval over seeds. Labels that the budget did not suffice for are infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one strategy did. `area` is the mean height of its curve; `needed` the labels for a macro-F1, by it."""

    final: Estimate
    area: Estimate
    needed: Mapping[float, Estimate]
    needed_for_end: Estimate  # labels for random's final macro-F1


def measure(curves: Curves, levels: Sequence[float]) -> dict[str, Measured]:
    """Measure every strategy.

    Curves are averaged over the seeds and made to rise (isotonic regression, Barlow et al. 1972) before labels are read off, since the
    first of many noisy points to pass a score passes it too early. The bootstrap (Efron and Tibshirani 1993) draws seeds, the same
    ones for a strategy and for random.
    """
    seeds = len(curves.scores[RANDOM])
    draws = np.vstack([np.arange(seeds), np.random.default_rng(_SEED).integers(seeds, size=(RESAMPLES, seeds))])
    means = {name: _Means(curves.labels, scores[draws].mean(axis=1)) for name, scores in curves.scores.items()}
    goals = means[RANDOM].rising[:, -1]
    return {name: _measured(mean, goals, levels) for name, mean in means.items()}


class _Means:
    """A strategy's mean curves [draws, points], the first over all seeds as they are, and the rising curves nearest to them."""

    def __init__(self, labels: Sequence[int], curves: NDArray[np.float64]) -> None:
        self.labels, self.curves = labels, curves
        different, place = np.unique(curves.round(12), axis=0, return_inverse=True)  # 10 of 3 seeds
        self.rising = np.array([isotonic_regression(curve) for curve in different])[place]
        self.area = np.asarray(np.trapezoid(curves, labels, axis=1)) / (labels[-1] - labels[0])

    def needed(self, scores: Curve) -> Estimate:
        """Give the labels for a score, which may differ from draw to draw."""
        return _estimate([labels_needed(self.labels, curve, score) for curve, score in zip(self.rising, scores, strict=True)])


def _measured(means: _Means, goals: Curve, levels: Sequence[float]) -> Measured:
    return Measured(
        final=_estimate(means.rising[:, -1]),
        area=_estimate(means.area),
        needed={level: means.needed(np.full(len(goals), level)) for level in levels},
        needed_for_end=means.needed(goals),
    )


def labels_needed(labels: Sequence[int], rising: Curve, score: float) -> float:
    """Give the labels at which a rising curve comes to a score, linear between its points; infinite if it never does."""
    if rising[-1] < score:
        return float("inf")
    after = int(np.searchsorted(rising, score))
    if after == 0:
        return float(labels[0])
    part = (score - rising[after - 1]) / (rising[after] - rising[after - 1])
    return float(labels[after - 1] + part * (labels[after] - labels[after - 1]))


def _estimate(values: Sequence[float] | Curve) -> Estimate:
    """Take the first value as the number itself, the others as its resamples; the ends are resamples, so that they may be infinite."""
    low, high = np.quantile(values[1:], _ENDS, method="inverted_cdf")
    return Estimate(float(values[0]), float(low), float(high))
