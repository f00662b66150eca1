"""When to train anew: enough new labels, a model that misses too much or is overturned too often, or posts that have changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from annotation.audit import audits, overturned
from annotation.drift import Drift, drift
from annotation.labels import count_labels
from annotation.rates import Rate
from annotation.retrain import Retrainer
from annotation.settle import DEFAULT_OVERLAP, Overlap, settle
from semantic_service.store.store import Store


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is reason enough. Rates count from the lower end of their interval: chance alone trains nothing.

    Without `fewest_labels` new labels the same data would give the same model again, so nothing is a reason then.
    """

    new_labels: int = 500
    miss_rate: float = 0.2  # of the posts that people flagged
    overturn_rate: float = 0.1  # of the stored posts
    drift: float = 0.25  # population stability index
    fewest_labels: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.fewest_labels <= self.new_labels:
            raise ValueError(f"fewest_labels must be at least 1 and at most new_labels, got {self.fewest_labels} and {self.new_labels}")
        if not (0 < self.miss_rate <= 1 and 0 < self.overturn_rate <= 1 and self.drift > 0):
            raise ValueError(f"rates must lie in (0, 1] and drift be above 0, got {self}")


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the model in use; None is not known. `new_labels` are those since the last retraining was ordered."""

    new_labels: int
    missed: Rate | None = None
    overturned: Rate | None = None
    drift: Drift | None = None


def look(store: Store, overlap: Overlap, new_labels: int, now: datetime) -> Situation:
    """Gather what is known of the model that judged last."""
    newest = next(iter(store.reviews()), None)
    if newest is None:
        return Situation(new_labels)
    version, answers = newest.model_version, store.answers()
    return Situation(
        new_labels,
        next((audit.missed for audit in audits(answers, settle(answers, overlap)) if audit.model_version == version), None),
        overturned(store.reviews(model_version=version), store.feedback()).corrected,
        drift(store.reviews(model_version=version), now),
    )


def due(situation: Situation, bounds: Bounds) -> list[str]:
    """Give the reasons to train anew, for the registry's history; none: it is not due."""
    if situation.new_labels < bounds.fewest_labels:
        return []
    reasons = []
    if situation.new_labels >= bounds.new_labels:
        reasons.append(f"{situation.new_labels} new labels")
    if situation.missed is not None and situation.missed.low > bounds.miss_rate:
        reasons.append(f"misses {situation.missed}, above {bounds.miss_rate:.0%}")
    if situation.overturned is not None and situation.overturned.low > bounds.overturn_rate:
        reasons.append(f"overturned {situation.overturned}, above {bounds.overturn_rate:.0%}")
    if situation.drift is not None and situation.drift.largest > bounds.drift:
        reasons.append(f"drift {situation.drift.largest:.2f}, above {bounds.drift:g}")
    return reasons


@dataclass(frozen=True, slots=True)
class Rules:
    """The bounds, and how many people a label takes."""

    bounds: Bounds = DEFAULT_BOUNDS
    overlap: Overlap = DEFAULT_OVERLAP

    def reasons(self, store: Store, new_labels: int) -> list[str]:
        """Look, unless there are too few labels anyway, and judge."""
        if new_labels < self.bounds.fewest_labels:
            return []
        return due(look(store, self.overlap, new_labels, datetime.now(UTC)), self.bounds)


def retrain_if_due(store: Store, retrainer: Retrainer, labels: Path, rules: Rules) -> str | None:
    """Start a retraining if there is a reason to, or carry on with an interrupted one; gives the reason, None if nothing was started.

    Args:
        store: judged posts, feedback and answers.
        retrainer: what to start.
        labels: the folder that batches of labels are written to.
        rules: what is reason enough, and how many people a label takes.

    Raises:
        RetrainingError: the config is not there, or the state can't be read.

    """
    last, given = retrainer.last(), count_labels(labels)
    if last is not None and last.is_unfinished:
        reasons: Sequence[str] = [last.reason]
    else:
        reasons = rules.reasons(store, given - (last.labels if last else 0))
    reason = "; ".join(reasons)
    return reason if reason and retrainer.start(reason, given) else None
