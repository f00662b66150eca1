"""TSV dumps: rows in, the same rows with a verdict out, in order, byte for byte where nothing was added.

Columns pass through as the bytes they were: neither UTF-8 nor GB18030 uses tab or newline inside a character. GB18030 does use
the backslash (籠), so MySQL's escapes are looked for character by character.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from semantic_service.batch.errors import BatchError, RowError
from semantic_service.batch.lines import MAX_ROW_BYTES, Lines, is_whole
from semantic_service.batch.tables import Encoding, Outcome, Part, Value, columns, values
from semantic_service.contract.tasks import Task

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


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its fields as bytes, and its text or the reason why there is none."""

    fields: tuple[bytes, ...]
    text: str | RowError


@dataclass(frozen=True, slots=True)
class TsvLayout:
    """The columns of a dump and how they are written."""

    dialect: Dialect
    header: bytes
    newline: bytes
    tasks: tuple[Task, ...] = ()

    @classmethod
    def read(cls, line: bytes, dialect: Dialect, tasks: Sequence[Task]) -> Self:
        """Read a dump's first line.

        Raises:
            BatchError: there is none, or it lacks the text column.

        """
        if not line.strip():
            raise BatchError("the file is empty: the first row must name the columns")
        layout = cls(dialect, line.rstrip(b"\r\n"), b"\r\n" if line.endswith(b"\r\n") else b"\n", tuple(tasks))
        if dialect.text_column not in layout._names:
            raise BatchError(f"no column {dialect.text_column!r}: the header has {', '.join(layout._names)}; choose one with --text-column")
        return layout

    @property
    def _names(self) -> list[str]:
        return [name.decode(self.dialect.encoding, "replace") for name in self.header.removeprefix(_BOM).split(b"\t")]

    def header_out(self) -> bytes:
        """Write the output's header."""
        return b"\t".join((self.header, *(name.encode() for name in columns(self.tasks)))) + self.newline

    def texts(self, lines: Sequence[bytes]) -> list[str | RowError]:
        """Read each line's text."""
        return [row.text for row in self.rows(lines)]

    def out(self, lines: Sequence[bytes], outcomes: Sequence[Outcome]) -> bytes:
        """Write the lines with their outcomes."""
        return b"".join(map(self._row_out, self.rows(lines), outcomes))

    def rows(self, lines: Sequence[bytes]) -> list[Row]:
        """Parse lines."""
        names = self._names
        text_index = names.index(self.dialect.text_column)
        return [self._row(line, len(names), text_index) for line in lines]

    def _row(self, line: bytes, width: int, text_index: int) -> Row:
        fields = self.dialect.split(self._cut(line))
        padded = _padded(fields, width)
        if not is_whole(line):
            return Row(padded, RowError(f"row_too_long: above {MAX_ROW_BYTES} bytes, the rest was cut"))
        if len(fields) != width:
            return Row(padded, RowError(f"wrong_columns: the row has {len(fields)}, the header {width}"))
        try:
            return Row(padded, self.dialect.decode(fields[text_index]))
        except RowError as error:
            return Row(padded, error)

    def _cut(self, line: bytes) -> bytes:
        if is_whole(line) and self.newline == b"\r\n":
            line = line.removesuffix(b"\r")
        line = line[:MAX_ROW_BYTES]
        # At the very end a backslash would escape the tab that is put behind it.
        return line[:-1] if self.dialect.open_end(line) == b"\\" else line

    def _row_out(self, row: Row, outcome: Outcome) -> bytes:
        return b"\t".join((*row.fields, *(_shown(value).encode() for value in values(outcome, self.tasks)))) + self.newline


def _padded(fields: tuple[bytes, ...], width: int) -> tuple[bytes, ...]:
    """Give a row the header's number of columns, so that the judgement's columns stay in line; surplus ones join the last."""
    whole, surplus = fields[: width - 1], fields[width - 1 :]
    return (*whole, b" ".join(surplus)) + (b"",) * (width - len(whole) - 1)


def _shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4f}" if isinstance(value, float) else value


class TsvTable:
    """An open TSV dump; its units are bytes."""

    def __init__(self, stream: BinaryIO, dialect: Dialect, tasks: Sequence[Task] = ()) -> None:
        """Read the header.

        Raises:
            BatchError: there is none, or it lacks the text column.

        """
        self._lines = Lines(stream, dialect.open_end)
        self.size = stream.seek(0, 2)
        stream.seek(0)
        self.layout = TsvLayout.read(stream.readline(MAX_ROW_BYTES), dialect, tasks)
        self.start = stream.tell()

    def parts(self, start: int) -> Iterator[Part]:
        """Cut what follows a row's end into parts."""
        return self._lines.parts(start)

    def complete(self, partial: Path) -> Path:
        """Leave what was written as it is."""
        return partial
