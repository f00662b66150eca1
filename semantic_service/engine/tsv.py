"""TSV dumps: rows in, the same rows with a verdict out, in order, byte for byte where nothing was added.

Columns pass through as the bytes they were: neither UTF-8 nor GB18030 uses tab or newline inside a character. GB18030 does use
the backslash (籠), so MySQL's escapes are looked for character by character.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.tasks import Task
from semantic_service.engine.moderator import Judgement

Encoding = Literal["utf-8", "gb18030"]

MAX_ROW_BYTES = 1024 * 1024
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
_BOM = b"\xef\xbb\xbf"
# A field up to its tab, and what is whole of a line: a backslash or a GB18030 character at the very end may go on in the next piece.
_FIELDS = {
    "utf-8": re.compile(rb"((?:[^\t\\]+|\\[\s\S])*+\\?)(\t|\Z)"),
    "gb18030": re.compile(rb"((?:[^\t\\\x81-\xfe]+|[\x81-\xfe][\x40-\x7e\x80-\xfe]?|\\[\s\S])*+\\?)(\t|\Z)"),
}
_WHOLE = {
    "utf-8": re.compile(rb"(?:[^\\]+|\\[\s\S])*+"),
    "gb18030": re.compile(rb"(?:[^\\\x81-\xfe]+|[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|(?=[\s\S]))|\\[\s\S])*+"),
}
_ESCAPE = re.compile(r"\\([\s\S])")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


class TsvError(ValueError):
    """A dump that can't be read at all: no header, or no such column."""


class RowError(ValueError):
    """A row that can't be judged; the message goes into its `error` column."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its fields as bytes, its text or the reason why there is none, and where the next row starts."""

    fields: tuple[bytes, ...]
    text: str | RowError
    end: int  # byte offset in the input


@dataclass(frozen=True, slots=True)
class _Line:
    """A row's bytes without its newline; of one above MAX_ROW_BYTES the beginning."""

    content: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a dump is written."""

    text_column: str
    encoding: Encoding = "utf-8"
    mysql: bool = False

    def split(self, line: bytes) -> tuple[bytes, ...]:
        """Cut a line into fields; with MySQL escapes, an escaped tab does not end a field."""
        if not self.mysql:
            return tuple(line.split(b"\t"))
        fields = []
        for match in _FIELDS[self.encoding].finditer(line):
            fields.append(match.group(1))
            if not match.group(2):
                break
        return tuple(fields)

    def open_end(self, piece: bytes) -> bytes:
        """Give what the next piece may finish: a lone backslash, with GB18030 also half a character."""
        match = _WHOLE[self.encoding].match(piece) if self.mysql else None
        return piece[match.end() :] if match else b""

    def decode(self, field: bytes) -> str:
        """Read a text.

        Raises:
            RowError: not in the encoding, or NULL.

        """
        try:
            text = field.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise RowError(f"bad_encoding: not {self.encoding} at byte {error.start} of the text") from error
        if not self.mysql:
            return text
        if text == r"\N":
            raise RowError("null_text: the text is NULL")
        return _ESCAPE.sub(lambda match: _ESCAPES.get(match.group(1), match.group(1)), text)


class Reader:
    """Reads a dump from a seekable stream, from any row's end onwards."""

    def __init__(self, stream: BinaryIO, dialect: Dialect, tasks: Sequence[Task] = ()) -> None:
        """Read the header. Each of the model's further tasks gets a column of its own in the output, behind the judgement's.

        Raises:
            TsvError: there is none, or it lacks the text column.

        """
        self._stream = stream
        self._dialect = dialect
        self._task_columns = tuple(f"task_{task.name}" for task in tasks)
        stream.seek(0)
        line = stream.readline(MAX_ROW_BYTES)
        if not line.strip():
            raise TsvError("the file is empty: the first row must name the columns")
        self.newline = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        self.header = line.rstrip(b"\r\n")
        names = [name.decode(dialect.encoding, "replace") for name in self.header.removeprefix(_BOM).split(b"\t")]
        if dialect.text_column not in names:
            raise TsvError(f"no column {dialect.text_column!r}: the header has {', '.join(names)}; choose one with --text-column")
        self._columns = len(names)
        self._text_index = names.index(dialect.text_column)
        self.start = stream.tell()

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from a byte offset (`start`, or a row's `end`) to the end of the file."""
        self._stream.seek(start)
        while line := self._line():
            fields = self._dialect.split(line.content)
            yield Row(self._padded(fields), self._text(fields, is_whole=line.is_whole), self._stream.tell())

    def _line(self) -> _Line | None:
        """Read up to the next newline that is not escaped; keep no more than the bound."""
        kept: list[bytes] = []
        size, open_end, is_ended = 0, b"", False
        while not is_ended and (piece := self._stream.readline(MAX_ROW_BYTES)):
            content = piece.removesuffix(b"\n")
            open_end = self._dialect.open_end(open_end + content)
            is_ended = content != piece and open_end != b"\\"
            if size < MAX_ROW_BYTES:
                kept.append(content if is_ended else piece)
            size += len(piece)
            open_end = open_end if content == piece else b""
        return self._cut(b"".join(kept), is_whole=size <= MAX_ROW_BYTES) if size else None

    def _cut(self, content: bytes, *, is_whole: bool) -> _Line:
        if is_whole and self.newline == b"\r\n":
            content = content.removesuffix(b"\r")
        content = content[:MAX_ROW_BYTES]
        if self._dialect.open_end(content) == b"\\":  # it would escape the tab that is put behind it
            content = content[:-1]
        return _Line(content, is_whole)

    def _text(self, fields: tuple[bytes, ...], *, is_whole: bool) -> str | RowError:
        if not is_whole:
            return RowError(f"row_too_long: above {MAX_ROW_BYTES} bytes, the rest was cut")
        if len(fields) != self._columns:
            return RowError(f"wrong_columns: the row has {len(fields)}, the header {self._columns}")
        try:
            return self._dialect.decode(fields[self._text_index])
        except RowError as error:
            return error

    def _padded(self, fields: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Give a row the header's number of columns, so that the judgement's columns stay in line; surplus ones join the last."""
        whole, surplus = fields[: self._columns - 1], fields[self._columns - 1 :]
        return (*whole, b" ".join(surplus)) + (b"",) * (self._columns - len(whole) - 1)

    def header_out(self) -> bytes:
        """Write the output's header."""
        return b"\t".join((self.header, *(name.encode() for name in (*JUDGEMENT_COLUMNS, *self._task_columns)))) + self.newline

    def row_out(self, row: Row, outcome: Judgement | Exception) -> bytes:
        """Write a judged row, or a row with its error."""
        values = (*_error_values(outcome), *("" for _ in self._task_columns)) if isinstance(outcome, Exception) else _values(outcome)
        return b"\t".join((*row.fields, *(value.encode() for value in values))) + self.newline


def _values(judgement: Judgement) -> tuple[str, ...]:
    verdict = judgement.verdict
    return (
        verdict.label.english,
        f"{verdict.confidence:.4f}",
        *(f"{probability:.4f}" for probability in verdict.probabilities),
        verdict.suggestion.value,
        str(verdict.uncertain).lower(),
        verdict.decided_by.value,
        judgement.model_version,
        "",
        *(answer.label for answer in judgement.tasks),
    )


def _error_values(error: Exception) -> tuple[str, ...]:
    return ("",) * (len(JUDGEMENT_COLUMNS) - 1) + (str(error),)
