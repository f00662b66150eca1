"""How often the model is wrong: unbiased, from posts drawn at random, and as moderators and authors see it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from annotation.rates import Rate, rate
from annotation.settle import Outcome, by_text
from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Feedback, FeedbackKind, Review


@dataclass(frozen=True, slots=True)
class Audit:
    """One model on the settled posts that were drawn at random. A post is flagged if its label is not compliant.

    `missed`: of the posts that people flagged, those that the model called compliant. `false_alarms`: of the posts that people called
    compliant, those that the model flagged.
    """

    model_version: str
    posts: int
    missed: Rate | None
    false_alarms: Rate | None


def audits(answers: Iterable[Answer], outcome: Outcome) -> list[Audit]:
    """Measure every model that judged randomly drawn posts, the one with the latest answer first."""
    truth = {record.id: record.label for record in outcome.records}
    judged: dict[str, dict[str, Label]] = defaultdict(dict)
    latest: dict[str, str] = defaultdict(str)
    for text_id, given in by_text(answers).items():
        for answer in given:
            if answer.purpose is Purpose.RANDOM and answer.model_version is not None and answer.model_label is not None:
                judged[answer.model_version][text_id] = answer.model_label
                latest[answer.model_version] = max(latest[answer.model_version], answer.updated_at)
    versions = sorted(judged, key=lambda version: latest[version], reverse=True)
    return [_audit(version, judged[version], truth) for version in versions]


def _audit(version: str, judged: Mapping[str, Label], truth: Mapping[str, Label]) -> Audit:
    counts = Counter((truth[text_id] > 0, label > 0) for text_id, label in judged.items() if text_id in truth)
    return Audit(
        model_version=version,
        posts=counts.total(),
        missed=rate(counts[True, False], counts[True, False] + counts[True, True]),
        false_alarms=rate(counts[False, True], counts[False, True] + counts[False, False]),
    )


@dataclass(frozen=True, slots=True)
class Overturned:
    """Of the posts in the store: those whose label a moderator changed, and those whose author appealed."""

    corrected: Rate | None
    appealed: Rate | None


def overturned(reviews: Iterable[Review], feedback: Iterable[Feedback]) -> Overturned:
    """Count the judged posts that somebody disagreed with afterwards; of several corrections the last counts."""
    said: dict[tuple[FeedbackKind, str], Feedback] = {}
    for item in sorted(feedback, key=lambda item: item.created_at):
        said[item.kind, item.text_id] = item
    posts = corrections = appeals = 0
    for review in reviews:
        text_id = review.text_id
        posts += 1
        corrections += _disagrees(said.get((FeedbackKind.CORRECTION, text_id)), review)
        appeals += _disagrees(said.get((FeedbackKind.APPEAL, text_id)), review)
    return Overturned(rate(corrections, posts), rate(appeals, posts))


def _disagrees(feedback: Feedback | None, review: Review) -> bool:
    """Whether it is about this judgement, not an older model's of the same text, and against it."""
    return feedback is not None and feedback.created_at >= review.created_at and feedback.label != review.label
