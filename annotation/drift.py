"""Whether posts are judged otherwise than when the model was new, by the population stability index."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike

from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review

REFERENCE = timedelta(days=14)  # the model's first
RECENT = timedelta(days=7)
MIN_POSTS = 200  # in either; with 200 in both, chance alone passes 0.17 in 5 % of the cases (chi-squared, Yurdakul 2018)
BINS = 10


@dataclass(frozen=True, slots=True)
class Drift:
    """The index of confidence and of the labels, between so many posts of the model's first days and of the last ones.

    Below 0.1 nothing has changed, above 0.25 much has, by the custom of credit scoring (Siddiqi 2006).
    """

    confidence: float
    labels: float
    reference: int
    recent: int

    @property
    def largest(self) -> float:
        """The larger of the two."""
        return max(self.confidence, self.labels)


def drift(reviews: Iterable[Review], now: datetime) -> Drift | None:
    """Compare one model's audit posts, the only ones that stand for all; not known while there are too few."""
    audit = [(datetime.fromisoformat(review.created_at), review.confidence, review.label) for review in reviews if review.is_audit]
    start = min((moment for moment, _, _ in audit), default=now)
    first = [post for post in audit if post[0] < start + REFERENCE]
    last = [post for post in audit if post[0] >= max(start + REFERENCE, now - RECENT)]
    if min(len(first), len(last)) < MIN_POSTS:
        return None
    confidences = [confidence for _, confidence, _ in first], [confidence for _, confidence, _ in last]
    edges = np.unique(np.quantile(confidences[0], np.linspace(0, 1, BINS + 1)[1:-1]))
    binned = [np.bincount(np.searchsorted(edges, some), minlength=len(edges) + 1) for some in confidences]
    labels = [np.bincount([label for _, _, label in some], minlength=len(Label)) for some in (first, last)]
    return Drift(stability(*binned), stability(*labels), len(first), len(last))


def stability(reference: ArrayLike, recent: ArrayLike) -> float:
    """The population stability index of two histograms over the same bins; half a post is added to each bin, so that none is empty."""
    one, other = (_shares(counts) for counts in (reference, recent))
    return float(((other - one) * np.log(other / one)).sum())


def _shares(counts: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    filled = np.asarray(counts, dtype=np.float64) + 0.5
    shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = filled / filled.sum()
    return shares
