"""What labelling has come to, from real data: labels, agreement, annotators, the model's errors, and whether more labels pay."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from annotation.agreement import Agreement, measure
from annotation.audit import Audit, Overturned, audits, overturned
from annotation.payoff import Payoff, Point, payoff
from annotation.settle import DEFAULT_OVERLAP, Overlap, State, settle
from semantic_service.contract.answers import Answer
from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record
from semantic_service.contract.reviews import Feedback, Review


@dataclass(frozen=True, slots=True)
class Sources:
    """What a report is made from."""

    answers: Sequence[Answer]
    reviews: Iterable[Review]
    feedback: Sequence[Feedback]
    gold: Mapping[str, Label]  # by text id
    runs: Sequence[Point]
    overlap: Overlap = DEFAULT_OVERLAP


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers; what is not known is None. `weeks` has the settled posts by ISO week and label, `states` all answered posts."""

    answers: int
    states: Mapping[str, int]
    weeks: Mapping[str, Mapping[str, int]]
    agreement: Agreement
    audits: Sequence[Audit]
    overturned: Overturned
    runs: int
    payoff: Payoff | None

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values, without any text."""
        values = asdict(self)
        pairs = [{"annotators": list(pair), "kappa": kappa} for pair, kappa in values["agreement"]["pairs"].items()]
        values["agreement"]["pairs"] = pairs
        if self.payoff is not None:
            values["payoff"]["pays"] = self.payoff.pays
        return values


def report(sources: Sources) -> Report:
    """Measure everything."""
    outcome = settle(sources.answers, sources.overlap)
    counts = Counter(outcome.states.values())
    return Report(
        answers=len(sources.answers),
        states={str(state): counts[state] for state in State},
        weeks=_weeks(outcome.records),
        agreement=measure(sources.answers, sources.gold),
        audits=audits(sources.answers, outcome),
        overturned=overturned(sources.reviews, sources.feedback),
        runs=len(sources.runs),
        payoff=payoff(sources.runs),
    )


def _weeks(records: Iterable[Record]) -> dict[str, dict[str, int]]:
    weeks: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        weeks[f"{datetime.fromisoformat(record.created_at):%G-W%V}"][record.label.english] += 1
    return {week: {label.english: counts[label.english] for label in Label} for week, counts in sorted(weeks.items())}
