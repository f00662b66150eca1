"""Whether labelling more still pays: macro-F1 against labelled texts, over the training runs so far."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORTH = 0.01  # of macro-F1, that twice as many labels should bring
MIN_RUNS = 3
_REACH = 4  # runs on fewer than a quarter of the newest one's texts tell of another part of the curve
_95 = 1.959964  # standard deviations


@dataclass(frozen=True, slots=True)
class Point:
    """A finished run: how many texts it was trained on, and its macro-F1 on one held-out set with its standard error."""

    run: str
    base: str
    texts: int
    scores: Mapping[str, tuple[int, float, float]]  # by set: rows, macro-F1, standard error


@dataclass(frozen=True, slots=True)
class Payoff:
    """What twice as many labels should add to macro-F1 on a held-out set, with its 95 % interval, by a line through the newest runs.

    Learning curves are close to straight over the logarithm of the number of labels (Hestness et al. 2017), and flatten out in the end.
    """

    held_out: str
    runs: int
    gain: float
    low: float
    high: float

    @property
    def pays(self) -> bool | None:
        """Whether the gain is worth it; None where the interval leaves that open."""
        if self.low >= WORTH:
            return True
        return False if self.high < WORTH else None


def read_points(runs: Path) -> list[Point]:
    """Read the finished runs of a folder, the oldest first; one whose report doesn't say on how many texts it was trained is left out."""
    found = (_point(path) for path in sorted(runs.glob("*/report/report.json")))
    return [point for point in found if point is not None]


def _point(path: Path) -> Point | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        facts = values["facts"]
        scores = {name: _score(metrics) for name, metrics in values["files"].items() if name != "benign"}
        return Point(path.parents[1].name, str(facts["base"]), int(facts["texts"]), scores)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # another version's report


def _score(metrics: Mapping[str, Any]) -> tuple[int, float, float]:
    low, high = metrics["intervals"]["macro_f1"]
    return int(metrics["rows"]), float(metrics["macro_f1"]), max((high - low) / (2 * _95), 1e-4)


def payoff(points: Sequence[Point]) -> Payoff | None:
    """Fit the newest run's base, on the held-out set that most of its runs share; not known with fewer than three numbers of texts."""
    if not points:
        return None
    newest = points[-1]
    alike = [point for point in points if point.base == newest.base and point.texts * _REACH >= newest.texts]
    name = _held_out(newest, alike)
    if name is None:
        return None
    rows = newest.scores[name][0]
    measured = [(point.texts, *point.scores[name][1:]) for point in alike if point.scores.get(name, (0,))[0] == rows]
    if len({texts for texts, _, _ in measured}) < MIN_RUNS:
        return None
    gain, error = _slope(measured)
    return Payoff(name, len(measured), gain, gain - _95 * error, gain + _95 * error)


def _held_out(newest: Point, alike: Iterable[Point]) -> str | None:
    """Name the set that most runs were measured on, with as many rows each time; a test set before validation."""
    shared = Counter(name for point in alike for name in newest.scores if point.scores.get(name, (0,))[0] == newest.scores[name][0])
    return max(shared, key=lambda name: (shared[name], name != "validation", name), default=None)


def _slope(measured: Iterable[tuple[int, float, float]]) -> tuple[float, float]:
    """Give the weighted least-squares slope of macro-F1 over log2(texts), and its standard error.

    Where the points scatter more than their own errors explain, as other seeds make them, the error grows by as much (Birge 1932).
    """
    points = [(math.log2(texts), f1, error**-2) for texts, f1, error in measured]
    total = sum(weight for _, _, weight in points)
    centre = sum(weight * x for x, _, weight in points) / total
    spread = sum(weight * (x - centre) ** 2 for x, _, weight in points)
    mean = sum(weight * f1 for _, f1, weight in points) / total
    slope = sum(weight * (x - centre) * f1 for x, f1, weight in points) / spread
    scatter = sum(weight * (f1 - mean - slope * (x - centre)) ** 2 for x, f1, weight in points) / (len(points) - 2)
    return slope, math.sqrt(max(1, scatter) / spread)
