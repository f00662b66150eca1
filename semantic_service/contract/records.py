"""One line of `data/annotations/*.jsonl`: a labelled text, who labelled it and when."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Self

from semantic_service.contract.labels import Label, UnknownLabelError
from semantic_service.contract.text import text_id

_SURROGATE = re.compile("[\\ud800-\\udfff]")


class RecordError(ValueError):
    """A line that is not a record; the message says why (the reader adds file and line)."""


@dataclass(frozen=True, slots=True)
class Record:
    """A labelled text. `created_at` is ISO 8601 in UTC; the last two say what a model had thought before."""

    text: str
    label: Label
    source: str
    annotators: tuple[str, ...]
    created_at: str
    model_version: str | None = None
    confidence: float | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _SURROGATE.sub("", self.text))  # UTF-8 has none; the id ignores them
        object.__setattr__(self, "id", text_id(self.text))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line.

        Raises:
            RecordError: not a JSON object, a key missing, unknown or of the wrong type, or an id that is not the text's.

        """
        try:
            values: dict[str, Any] = json.loads(line)
            stated_id = values.pop("id")
            record = cls(**values | {"label": Label.parse(values["label"]), "annotators": tuple(values["annotators"])})
            _check_types(values)
        except UnknownLabelError as error:
            raise RecordError(str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecordError(f"not a record ({type(error).__name__}: {error})") from error
        if stated_id != record.id:
            raise RecordError(f"id is {stated_id!r}, but this text's is {record.id!r}")
        return record

    def to_json(self) -> str:
        """Write the record as one line, without its newline; absent values are left out."""
        values = {
            "id": self.id,
            "text": self.text,
            "label": self.label.english,
            "source": self.source,
            "annotators": list(self.annotators),
            "created_at": self.created_at,
            "model_version": self.model_version,
            "confidence": self.confidence,
        }
        return json.dumps({key: value for key, value in values.items() if value is not None}, ensure_ascii=False)


_TYPES = {"source": str, "annotators": list, "created_at": str, "model_version": str | None, "confidence": float | int | None}


def _check_types(values: dict[str, Any]) -> None:
    for key, kind in _TYPES.items():
        if not isinstance(values.get(key), kind):
            raise TypeError(f"{key} is {values[key]!r}")
    if not all(isinstance(name, str) for name in values["annotators"]):
        raise TypeError(f"annotators is {values['annotators']!r}")
