"""A judged post that people should look at, and what a moderator or its author said of the verdict."""

from dataclasses import dataclass
from enum import StrEnum

from semantic_service.contract.labels import Label
from semantic_service.contract.text import text_id
from semantic_service.contract.verdict import DEFAULT_SCENE, Decider, Hit, Suggestion


@dataclass(frozen=True, slots=True)
class Review:
    """A post as the service judged it. `created_at` is ISO 8601 in UTC.

    `is_audit` marks the posts that were drawn at random from all that were judged, whatever the model thought of them: rates taken over
    them are unbiased.
    """

    text: str
    probabilities: tuple[float, float, float]
    label: Label
    suggestion: Suggestion
    model_version: str
    created_at: str
    is_uncertain: bool
    is_audit: bool = False
    scene: str = DEFAULT_SCENE
    decided_by: Decider = Decider.MODEL
    hits: tuple[Hit, ...] = ()
    request_id: str | None = None
    data_id: str | None = None

    @property
    def text_id(self) -> str:
        """The text's id, the same however it is disguised."""
        return text_id(self.text)

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.probabilities)


class FeedbackKind(StrEnum):
    """Who disagrees with a verdict."""

    CORRECTION = "correction"  # a moderator
    APPEAL = "appeal"  # the post's author


@dataclass(frozen=True, slots=True)
class Feedback:
    """What was said of a verdict later; `label` is what it should have been, where that was said. `created_at` is ISO 8601 in UTC.

    `text` is there if it was sent along; a post that the store has is found by `text_id`.
    """

    text_id: str
    kind: FeedbackKind
    created_at: str
    label: Label | None = None
    note: str = ""
    request_id: str | None = None
    by: str | None = None
    text: str | None = None
