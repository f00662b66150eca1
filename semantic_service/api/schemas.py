"""What goes over the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, model_validator

from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.tasks import TaskVerdict
from semantic_service.contract.verdict import DEFAULT_SCENE
from semantic_service.engine.live import Live
from semantic_service.engine.moderator import Judgement

MAX_TEXT_CHARS = 100_000
MAX_ITEMS = 256


class ClassifyRequest(BaseModel):
    """One post."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"text": "加微信领彩金，日赚三千"}]})

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
    scene: Annotated[str, Field(min_length=1, max_length=64)] = DEFAULT_SCENE
    data_id: Annotated[str, Field(max_length=256)] | None = None


class BatchRequest(BaseModel):
    """Up to 256 posts; each is checked by itself, so that a bad one does not spoil the others."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[SkipValidation[ClassifyRequest]], Field(min_length=1, max_length=MAX_ITEMS)]


class FeedbackRequest(BaseModel):
    """What a moderator, or a post's author, says of a verdict: of an earlier request, by its id, or of a text."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"text": "这盘棋下得真狠", "kind": "correction", "label": "compliant", "note": "说的是棋"}]},
    )

    request_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)] | None = None
    kind: Literal["correction", "appeal"]
    label: Literal["compliant", "suspicious", "violation"] | None = None
    note: Annotated[str, Field(max_length=2000)] = ""
    by: Annotated[str, Field(max_length=256)] | None = None

    @model_validator(mode="after")
    def _say_of_what(self) -> Self:
        if self.request_id is None and self.text is None:
            raise ValueError("send the request_id of the verdict, the text, or both")
        if self.kind == "correction" and self.label is None:
            raise ValueError("a correction needs the label that is right")
        return self


class FeedbackAnswer(BaseModel):
    """The feedback is on the disk: in the store, or spilled, to be moved there once the database is back."""

    text_id: str
    result: Literal["stored", "spilled"]


class Probabilities(BaseModel):
    """Calibrated probabilities, which add up to 1."""

    compliant: float
    suspicious: float
    violation: float


class HitAnswer(BaseModel):
    """A lexicon term, at code points `start` (included) to `end` (excluded) of the text as it was sent."""

    term: str
    kind: Literal["allow", "deny"]
    start: int
    end: int


class TaskAnswer(BaseModel):
    """A further task's answer; its calibrated probabilities add up to 1."""

    label: str
    confidence: float
    probabilities: dict[str, float]

    @classmethod
    def of(cls, verdict: TaskVerdict) -> Self:
        """Say a task's verdict; probabilities are rounded to 6 digits."""
        rounded = (round(probability, 6) for probability in verdict.probabilities)
        probabilities = dict(zip(verdict.task.labels, rounded, strict=True))
        return cls(label=verdict.label, confidence=round(verdict.confidence, 6), probabilities=probabilities)


class ClassifyAnswer(BaseModel):
    """A verdict. `tasks` is there if the model has been trained for further tasks, by their names."""

    model_config = ConfigDict(protected_namespaces=())

    request_id: str
    data_id: str | None
    label: Literal["compliant", "suspicious", "violation"]
    label_id: int
    confidence: float
    probabilities: Probabilities
    suggestion: Literal["pass", "review", "block"]
    uncertain: bool
    decided_by: Literal["model", "lexicon"]
    hits: list[HitAnswer]
    truncated: bool
    scene: str
    model_version: str
    tasks: Annotated[dict[str, TaskAnswer], Field(exclude_if=lambda tasks: not tasks)] = {}

    @classmethod
    def of(cls, judgement: Judgement, request_id: str, data_id: str | None) -> Self:
        """Say a judgement; probabilities are rounded to 6 digits."""
        verdict = judgement.verdict
        return cls(
            request_id=request_id,
            data_id=data_id,
            label=verdict.label.english,
            label_id=int(verdict.label),
            confidence=round(verdict.confidence, 6),
            probabilities=Probabilities(**dict(zip(LABEL_NAMES, (round(p, 6) for p in verdict.probabilities), strict=True))),
            suggestion=verdict.suggestion.value,
            uncertain=verdict.uncertain,
            decided_by=verdict.decided_by.value,
            hits=[HitAnswer(term=hit.term, kind=hit.kind, start=hit.start, end=hit.end) for hit in verdict.hits],
            truncated=judgement.truncated,
            scene=judgement.scene,
            model_version=judgement.model_version,
            tasks={verdict.task.name: TaskAnswer.of(verdict) for verdict in judgement.tasks},
        )


class ErrorDetail(BaseModel):
    """What went wrong: a stable code for programs, a message for people."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class ItemError(BaseModel):
    """A bad item's place in a batch."""

    data_id: str | None
    error: ErrorDetail


class BatchAnswer(BaseModel):
    """Verdicts in the order of the items."""

    model_config = ConfigDict(protected_namespaces=())

    results: list[ClassifyAnswer | ItemError]
    model_version: str


class ModelAnswer(BaseModel):
    """The model in use."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    created: str
    labels: list[str]
    tasks: dict[str, list[str]]
    max_tokens: int
    temperature: float
    precision: str
    normaliser_version: int
    data_digest: str
    git_revision: str
    metrics: dict[str, Any]
    scenes: list[str]
    model_error: str | None
    policy_error: str | None

    @classmethod
    def of(cls, live: Live) -> Self:
        """Say what the manifest records, and why the last change of model or policy was refused."""
        manifest = live.bundle.manifest
        return cls(
            model_version=manifest.model_version,
            created=manifest.created,
            labels=list(manifest.labels),
            tasks={task.name: list(task.labels) for task in manifest.tasks},
            max_tokens=manifest.max_tokens,
            temperature=manifest.temperature,
            precision=manifest.precision,
            normaliser_version=manifest.normaliser_version,
            data_digest=manifest.data_digest,
            git_revision=manifest.git_revision,
            metrics=dict(manifest.metrics),
            scenes=sorted(live.moderator.policy.scenes),
            model_error=live.model_error,
            policy_error=live.policy_error,
        )


class Health(BaseModel):
    """A probe's answer."""

    status: Literal["alive", "ready"]
