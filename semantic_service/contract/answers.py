"""What an annotator answered about a post, and why the post was asked about."""

from dataclasses import dataclass
from enum import StrEnum

from semantic_service.contract.labels import Label
from semantic_service.contract.text import text_id


class Purpose(StrEnum):
    """Why a post was sent to annotators."""

    UNCERTAIN = "uncertain"  # it teaches the model most
    RANDOM = "random"  # drawn from the audit share: for unbiased rates
    GOLD = "gold"  # the label is known: measures the annotator
    ADJUDICATION = "adjudication"  # annotators disagreed
    LABEL_ERROR = "label_error"  # a label in the data that is suspected to be wrong


@dataclass(frozen=True, slots=True)
class Answer:
    """One annotator's answer to one task; `label` is None for "can't tell". Times are ISO 8601 in UTC.

    The last three say what the model had thought when the task was made.
    """

    annotation_id: int
    task_id: int
    text: str
    annotator: str
    label: Label | None
    purpose: Purpose
    updated_at: str
    seconds: float | None = None  # that the annotator took
    model_version: str | None = None
    model_label: Label | None = None
    confidence: float | None = None

    @property
    def text_id(self) -> str:
        """The text's id, the same however it is disguised."""
        return text_id(self.text)
