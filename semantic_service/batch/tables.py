"""What every format of a dump has in common: rows in, the same rows with a verdict's columns out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from semantic_service.batch.errors import RowError
from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.tasks import Task
from semantic_service.engine.moderator import Judgement

PART_ROWS = 512  # judged together, by one thread
PART_BYTES = 1024 * 1024  # a part of long rows ends earlier
JUDGEMENT_COLUMNS = (
    "label",
    "confidence",
    *(f"p_{name}" for name in LABEL_NAMES),
    "suggestion",
    "uncertain",
    "decided_by",
    "model_version",
    "error",
)
Encoding = Literal["utf-8", "gb18030"]
Value = str | float | bool | None
Outcome = Judgement | RowError


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows in a row, as bytes or lines that their format's layout understands. The last part of a table has no rows."""

    content: Any
    rows: int
    end: int  # where the next part starts, in the table's units


class Layout(Protocol):
    """How rows are laid out. It can be sent to another process, and needs neither the input nor the output there."""

    def header_out(self) -> bytes:
        """Give what the output starts with."""

    def texts(self, content: Any) -> list[str | RowError]:
        """Give each row's text, or the reason why there is none."""

    def out(self, content: Any, outcomes: Sequence[Outcome]) -> bytes:
        """Lay out a part's rows with their outcomes."""


class Table(Protocol):
    """An open input."""

    size: int  # in the table's units: bytes, or rows
    start: int

    @property
    def layout(self) -> Layout:
        """How its rows are laid out."""

    def parts(self, start: int) -> Iterator[Part]:
        """Cut what follows a part's end into parts."""

    def complete(self, partial: Path) -> Path:
        """Make the output of all that was laid out, which lies in `partial`: a file to be put in the output's place."""


def columns(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Name the columns that a verdict adds; each of the model's further tasks has one behind the judgement's."""
    return (*JUDGEMENT_COLUMNS, *(f"task_{task.name}" for task in tasks))


def values(outcome: Outcome, tasks: Sequence[Task]) -> tuple[Value, ...]:
    """Give the values of `columns(tasks)`."""
    if isinstance(outcome, RowError):
        return (*(None for _ in JUDGEMENT_COLUMNS[1:]), str(outcome), *(None for _ in tasks))
    verdict = outcome.verdict
    return (
        verdict.label.english,
        round(verdict.confidence, 4),
        *(round(probability, 4) for probability in verdict.probabilities),
        verdict.suggestion.value,
        verdict.uncertain,
        verdict.decided_by.value,
        outcome.model_version,
        None,
        *(answer.label for answer in outcome.tasks),
    )


def free_name(name: str, taken: Sequence[str]) -> str:
    """Rename an input's field that is called like one of a verdict's: `label` becomes `input_label`."""
    while name in taken:
        name = f"input_{name}"
    return name
