"""Answers as tests need them."""

from itertools import count

from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.verdict import Suggestion

_ids = count(1)
GOOD, ODD, BAD = Label


def at(minute):
    return f"2026-11-25T{minute // 60:02}:{minute % 60:02}:00.000000+00:00"


def answer(text, annotator, label, purpose=Purpose.UNCERTAIN, **values):
    number = next(_ids)
    task = values.pop("task", f"{text} {purpose}")
    given = {"updated_at": at(number % 1440), "model_version": "v1", "model_label": GOOD, "confidence": 0.5} | values
    return Answer(number, hash(task) % 2**31, text, annotator, label, purpose, **given)


def review(text, label=GOOD, **values):
    confidence = values.pop("confidence", 0.9)
    probabilities = tuple(confidence if other is label else (1 - confidence) / 2 for other in Label)
    given = {"model_version": "v1", "created_at": at(0), "is_uncertain": False, "suggestion": Suggestion.PASS} | values
    return Review(text=text, probabilities=probabilities, label=label, **given)
