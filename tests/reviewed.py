"""Judged posts and moments for tests of the review store."""

from datetime import UTC, datetime, timedelta

from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.verdict import Suggestion

START = datetime(2026, 1, 2, tzinfo=UTC)


def at(hour):
    return (START + timedelta(hours=hour)).isoformat(timespec="milliseconds")


def review(text, **changes):
    """Give an uncertain post."""
    plain = {"created_at": at(0), "model_version": "tiny-1", "is_uncertain": True}
    return Review(text=text, probabilities=(0.3, 0.5, 0.2), label=Label.SUSPICIOUS, suggestion=Suggestion.REVIEW, **plain | changes)
