"""What is kept for people to look at: uncertain posts, a random share of all posts, and what is said of verdicts."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from semantic_service.api.schemas import ClassifyRequest, FeedbackAnswer, FeedbackRequest
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Feedback, FeedbackKind, Review
from semantic_service.contract.text import normalise, text_id
from semantic_service.engine.moderator import EmptyTextError, Judgement
from semantic_service.store.keeper import Keeper, Result
from semantic_service.store.writer import Writer


class UnknownRequestError(Exception):
    """A request id that names no stored post, or more than one."""

    def __init__(self) -> None:
        super().__init__("this request_id names no stored post, or several: send the text too")


@dataclass(frozen=True, slots=True)
class Archive:
    """Where reviews are kept, and the share of all posts [0, 1] that is kept whatever the verdict."""

    url: str
    spill_file: Path
    audit_share: float


class Reviewing:
    """Chooses what is kept, and hands it over."""

    def __init__(self, archive: Archive, count: Callable[[Result, int], None]) -> None:
        """Keep in `archive`; what became of how many goes to `count`."""
        self.keeper = Keeper(archive.url, archive.spill_file, count)
        self.writer = Writer(self.keeper)
        self._audit_share = archive.audit_share

    def offer(self, post: ClassifyRequest, request_id: str | None, judgement: Judgement) -> None:
        """Keep a judged post if it is uncertain or drawn. Returns at once."""
        verdict = judgement.verdict
        is_audit = random.random() < self._audit_share  # noqa: S311 - a sample, not a secret
        if not (verdict.uncertain or is_audit):
            return
        review = Review(
            text=post.text,
            probabilities=verdict.probabilities,
            label=verdict.label,
            suggestion=verdict.suggestion,
            model_version=judgement.model_version,
            created_at=_now(),
            is_uncertain=verdict.uncertain,
            is_audit=is_audit,
            scene=judgement.scene,
            decided_by=verdict.decided_by,
            hits=verdict.hits,
            request_id=request_id,
            data_id=post.data_id,
        )
        self.writer.offer(review)

    def take(self, said: FeedbackRequest) -> FeedbackAnswer:
        """Keep a feedback; on return it is on the disk.

        Raises:
            EmptyTextError: nothing is left of the text once it is normalised.
            UnknownRequestError: there is no text, and the store does not know the request.
            StoreError: the store is away, and the request can't be looked up; or nothing can be written.

        """
        feedback = Feedback(
            text_id=self._text_id(said),
            kind=FeedbackKind(said.kind),
            created_at=_now(),
            label=None if said.label is None else Label.parse(said.label),
            note=said.note,
            request_id=said.request_id,
            by=said.by,
            text=said.text,
        )
        result = self.keeper.keep([feedback])
        return FeedbackAnswer(text_id=feedback.text_id, result="stored" if result is Result.STORED else "spilled")

    def _text_id(self, said: FeedbackRequest) -> str:
        if said.text is not None:
            if not normalise(said.text).text:
                raise EmptyTextError
            return text_id(said.text)
        assert said.request_id is not None  # its schema has seen to it
        review = self.keeper.find(said.request_id)
        if review is None:
            raise UnknownRequestError
        return review.text_id


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
