"""A share with its interval, or None where nothing was counted."""

from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `total`; `low` to `high` is Wilson's 95 % interval (Wilson 1927)."""

    count: int
    total: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.low:.1%}–{self.high:.1%}; {self.count:,} / {self.total:,})"


def rate(count: int, total: int) -> Rate | None:
    """Give the share that `count` is of `total`; of nothing it is not known."""
    if not total:
        return None
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return Rate(count, total, count / total, float(interval.low), float(interval.high))
