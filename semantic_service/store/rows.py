"""Reviews, feedback and answers as rows: plain values by column, the same in a table and on a line of the spill file."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Feedback, FeedbackKind, Review
from semantic_service.contract.verdict import Decider, Hit, Suggestion

Row = dict[str, Any]

_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")  # PostgreSQL has no NUL, UTF-8 no lone surrogates
_INVISIBLE = "\u200b"  # in their place: the text's id and the offsets of hits stay as they are


def row_of_review(review: Review) -> Row:
    """Give the values of `schema.reviews`."""
    compliant, suspicious, violation = review.probabilities
    return _storable(
        text_id=review.text_id,
        model_version=review.model_version,
        text=review.text,
        label=review.label.english,
        p_compliant=compliant,
        p_suspicious=suspicious,
        p_violation=violation,
        suggestion=review.suggestion.value,
        decided_by=review.decided_by.value,
        hits=[asdict(hit) for hit in review.hits],
        scene=review.scene,
        is_uncertain=review.is_uncertain,
        is_audit=review.is_audit,
        request_id=review.request_id,
        data_id=review.data_id,
        created_at=review.created_at,
    )


def review_of_row(row: Mapping[str, Any]) -> Review:
    """Read a row of `schema.reviews`."""
    return Review(
        text=row["text"],
        probabilities=(row["p_compliant"], row["p_suspicious"], row["p_violation"]),
        label=Label.parse(row["label"]),
        suggestion=Suggestion(row["suggestion"]),
        model_version=row["model_version"],
        created_at=row["created_at"],
        is_uncertain=row["is_uncertain"],
        is_audit=row["is_audit"],
        scene=row["scene"],
        decided_by=Decider(row["decided_by"]),
        hits=tuple(Hit(**hit) for hit in row["hits"]),
        request_id=row["request_id"],
        data_id=row["data_id"],
    )


def row_of_feedback(feedback: Feedback) -> Row:
    """Give the values of `schema.feedback`."""
    said = _storable(**asdict(feedback) | {"kind": feedback.kind.value, "label": _name(feedback.label)})
    return said | {"digest": hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}


def feedback_of_row(row: Mapping[str, Any]) -> Feedback:
    """Read a row of `schema.feedback`."""
    values = {name: value for name, value in row.items() if name != "digest"}
    return Feedback(**values | {"kind": FeedbackKind(row["kind"]), "label": _label(row["label"])})


def row_of_answer(answer: Answer) -> Row:
    """Give the values of `schema.answers`."""
    names = {"purpose": answer.purpose.value, "label": _name(answer.label), "model_label": _name(answer.model_label)}
    return _storable(**asdict(answer) | names)


def answer_of_row(row: Mapping[str, Any]) -> Answer:
    """Read a row of `schema.answers`."""
    read = {"purpose": Purpose(row["purpose"]), "label": _label(row["label"]), "model_label": _label(row["model_label"])}
    return Answer(**dict(row) | read)


def _storable(**values: Any) -> Row:
    return {name: _UNSTORABLE.sub(_INVISIBLE, value) if isinstance(value, str) else value for name, value in values.items()}


def _name(label: Label | None) -> str | None:
    return None if label is None else label.english


def _label(name: str | None) -> Label | None:
    return None if name is None else Label.parse(name)
