"""Judged posts to choose from."""

from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.verdict import Suggestion


def review(text, probabilities=(0.4, 0.3, 0.3), **values):
    label = Label(max(range(3), key=probabilities.__getitem__))
    known = {"suggestion": Suggestion.REVIEW, "model_version": "m-1", "created_at": "2026-11-22T00:00:00+00:00", "is_uncertain": True}
    return Review(text=text, probabilities=probabilities, label=label, **known | values)
