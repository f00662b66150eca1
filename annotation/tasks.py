"""A judged post as a Label Studio task, and an annotation as an answer; nothing here talks to a server."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from annotation.errors import AnswerError, TaskError
from annotation.interface import CANT_TELL, LABEL_CONTROL, POST_OBJECT, to_html
from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.text import normalise
from semantic_service.contract.verdict import Decider

PREDICTED_BY = "moderation"  # one name for every model, since Label Studio's uncertainty sampling knows the predictions of one only
INDEPENDENT = (Purpose.RANDOM, Purpose.ADJUDICATION)  # here the model's guess would sway what is to be measured
UNSURE = 0.5  # an uncertain post's confidence, about

Task = dict[str, Any]  # what Label Studio takes as JSON

_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")  # PostgreSQL takes no NUL, UTF-8 no surrogates; the text's id ignores both


def external_id(text_id: str, purpose: Purpose) -> str:
    """Name a task: a text is asked about once for each purpose."""
    return f"{text_id}-{purpose}"


@dataclass(frozen=True, slots=True)
class Placed:
    """A task as it stands on the board: how many annotations it has, how many it is open to, and how many it should be."""

    id: int
    ext_id: str
    annotations: int
    overlap: int
    annotators: int


def asked(ext_id: str) -> tuple[str, Purpose]:
    """Read an external id: the text's id, and what it was asked about for.

    Raises:
        ValueError: it is none of ours.

    """
    text_id, _, purpose = ext_id.partition("-")
    return text_id, Purpose(purpose)


def to_task(review: Review, purpose: Purpose, annotators: int = 1) -> Task:
    """Make the task that asks so many people about a post.

    What can be filtered by in Label Studio's Data Manager is in `data`. Its uncertainty sampling serves the lowest score first: so the
    score of an uncertain post is the model's confidence, and the others', which the model may be sure of, are spread evenly among those.

    Raises:
        TaskError: nothing of the text is shown, or the confidence is not a probability.

    """
    _check(review)
    is_shown = purpose not in INDEPENDENT
    data = {
        "ext_id": external_id(review.text_id, purpose),
        "text_id": review.text_id,
        "text": _UNSTORABLE.sub("", review.text),
        "html": _UNSTORABLE.sub("", to_html(review.text, review.hits if is_shown else ())),
        "scene_line": f"场景 scene: {_UNSTORABLE.sub('', review.scene)}",
        "guess": _guess(review) if is_shown else "请独立判断 judge by yourself",
        "purpose": str(purpose),
        "scene": _UNSTORABLE.sub("", review.scene),
        "model_version": review.model_version,
        "model_label": review.label.english,
        "confidence": review.confidence,
        "annotators": annotators,
    }
    score = review.confidence if purpose is Purpose.UNCERTAIN else UNSURE * int(review.text_id[:8], 16) / 2**32
    prediction = {"model_version": PREDICTED_BY, "score": score, "result": [choice(review.label)] if is_shown else []}
    return {"data": data, "predictions": [prediction]}


def choice(label: Label | None) -> dict[str, Any]:
    """Say "this label" (None: can't tell) as Label Studio does in predictions and annotations."""
    alias = CANT_TELL if label is None else label.english
    return {"from_name": LABEL_CONTROL, "to_name": POST_OBJECT, "type": "choices", "value": {"choices": [alias]}}


def _guess(review: Review) -> str:
    shares = " · ".join(f"{label.chinese} {review.probabilities[label]:.0%}" for label in Label)
    decided = "词表 lexicon" if review.decided_by is Decider.LEXICON else "模型 model"
    return f"{decided}: {review.label.chinese} {review.label.english}（{shares}）"


def _check(review: Review) -> None:
    if not normalise(review.text).text:
        raise TaskError(f"the post {review.text_id} has nothing that can be seen: it can't be labelled")
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in review.probabilities):
        raise TaskError(f"the post {review.text_id} has probabilities {review.probabilities}: three from 0 to 1 are needed")


def to_answer(task: Mapping[str, Any], annotation: Mapping[str, Any], annotator: str) -> Answer:
    """Read an annotation of one of our tasks, both as Label Studio gives them; times may be texts or datetimes.

    Raises:
        AnswerError: the task is none of ours, or the annotation holds none of our labels.

    """
    try:
        data = task["data"]
        return Answer(
            annotation_id=int(annotation["id"]),
            task_id=int(task["id"]),
            text=data["text"],
            annotator=annotator,
            label=_label(annotation["result"]),
            purpose=Purpose(data["purpose"]),
            updated_at=utc(annotation["updated_at"]),
            seconds=annotation.get("lead_time"),
            model_version=data["model_version"],
            model_label=Label.parse(data["model_label"]),
            confidence=float(data["confidence"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        where = f"annotation {annotation.get('id')} of task {task.get('id')}"
        raise AnswerError(f"{where} is no answer to a task of ours ({type(error).__name__}: {error})") from error


def _label(result: list[Mapping[str, Any]]) -> Label | None:
    chosen = [alias for part in result if part["from_name"] == LABEL_CONTROL for alias in part["value"]["choices"]]
    if len(chosen) != 1:
        raise ValueError(f"one label is needed, got {len(chosen)}")
    return None if chosen[0] == CANT_TELL else Label.parse(chosen[0])


def utc(moment: datetime | str) -> str:
    """Write a moment as ISO 8601 in UTC, to the microsecond, so that texts sort as moments do."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
