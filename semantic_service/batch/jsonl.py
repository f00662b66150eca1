"""JSONL dumps: an object a line in, the same object with a verdict's fields out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from semantic_service.batch.errors import RowError
from semantic_service.batch.lines import MAX_ROW_BYTES, Lines, is_whole
from semantic_service.batch.tables import Encoding, Outcome, Part, columns, free_name, values
from semantic_service.contract.tasks import Task

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class JsonlLayout:
    """The field that holds the post, and the fields that a verdict adds."""

    text_column: str
    encoding: Encoding = "utf-8"
    tasks: tuple[Task, ...] = ()

    def header_out(self) -> bytes:
        """Write none."""
        return b""

    def texts(self, lines: Sequence[bytes]) -> list[str | RowError]:
        """Read each line's text."""
        return [self._text(line) for line in lines]

    def out(self, lines: Sequence[bytes], outcomes: Sequence[Outcome]) -> bytes:
        """Write the objects with their outcomes; a line that is no object becomes the field `input_line`."""
        return b"".join(map(self._line_out, lines, outcomes))

    def _text(self, line: bytes) -> str | RowError:
        try:
            row = self._object(line)
        except RowError as error:
            return error
        if self.text_column not in row:
            return RowError(f"no_text: the object has no field {self.text_column!r}")
        text = row[self.text_column]
        if text is None:
            return RowError("null_text: the text is null")
        return text if isinstance(text, str) else RowError(f"no_text: {self.text_column!r} is no string")

    def _object(self, line: bytes) -> dict[str, Any]:
        if not is_whole(line):
            raise RowError(f"row_too_long: above {MAX_ROW_BYTES} bytes, the rest was cut")
        try:
            row = json.loads(line.decode(self.encoding).removeprefix(_BOM))
        except UnicodeDecodeError as error:
            raise RowError(f"bad_encoding: not {self.encoding} at byte {error.start} of the line") from error
        except (ValueError, RecursionError) as error:
            raise RowError("bad_json: the line can't be read as JSON") from error
        if not isinstance(row, dict):
            raise RowError("bad_json: the line is no object")
        return row

    def _line_out(self, line: bytes, outcome: Outcome) -> bytes:
        try:
            row = self._object(line)
        except RowError:
            row = {"input_line": line.decode(self.encoding, "replace").removesuffix("\r")}
        added = dict(zip(columns(self.tasks), values(outcome, self.tasks), strict=True))
        kept = {free_name(name, (*added, *(other for other in row if other != name))) if name in added else name: row[name] for name in row}
        return (
            json.dumps(kept | added, ensure_ascii=False).encode(self.encoding, "backslashreplace") + b"\n"
        )  # half a surrogate pair: \ud800


class JsonlTable:
    """An open JSONL dump; its units are bytes."""

    start = 0

    def __init__(self, stream: BinaryIO, layout: JsonlLayout) -> None:
        self._lines = Lines(stream)
        self.layout = layout
        self.size = stream.seek(0, 2)

    def parts(self, start: int) -> Iterator[Part]:
        """Cut what follows a line's end into parts."""
        return self._lines.parts(start)

    def complete(self, partial: Path) -> Path:
        """Leave what was written as it is."""
        return partial
