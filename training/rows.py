"""Rows of JSONL, CSV and TSV files as they stand; where one is broken, the reason, and on to the next."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

_Quoting = Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
_TABLES: dict[str, tuple[str, _Quoting]] = {".csv": (",", csv.QUOTE_MINIMAL), ".tsv": ("\t", csv.QUOTE_NONE)}
SUFFIXES = (".jsonl", *_TABLES)
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # as surrogateescape reads it


def scan_rows(path: Path) -> Iterator[tuple[int | None, dict[str, Any] | str]]:
    """Yield each row with its line, or the reason why it is none; with no line, why the file can't be read.

    A row of several lines has the number of its last one. No reason holds a text of the file.
    """
    if path.suffix not in SUFFIXES:
        yield None, f"the name must end in {', '.join(SUFFIXES)}"
        return
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = file.readlines()
    except OSError as error:
        yield None, f"can't be read ({error.strerror})"
        return
    for index, line in enumerate(lines):
        if _BAD_BYTE.search(line):
            yield index + 1, "not UTF-8: save the file as UTF-8, as with `iconv -f gb18030 -t utf-8`"
            lines[index] = "\n"
    yield from _table_rows(lines, *_TABLES[path.suffix]) if path.suffix in _TABLES else _json_rows(lines)


class Labelled(Protocol):
    """A label, and when annotators gave it (ISO 8601); empty where nobody is named."""

    @property
    def labelled_at(self) -> str: ...  # noqa: D102 - the class says it


L = TypeVar("L", bound=Labelled)


def labelled_at(row: Mapping[str, Any]) -> str:
    """Say when annotators gave a row of `data/annotations` its label; of any other row nobody knows."""
    return str(row.get("created_at", "")) if isinstance(row.get("annotators"), list) and row["annotators"] else ""


def newest(rows: Sequence[L]) -> list[L]:
    """Keep what annotators said last of a text; rows that nobody dated count only among themselves."""
    last = max((row.labelled_at for row in rows), default="")
    return [row for row in rows if row.labelled_at == last]


def matching(paths: Any) -> Any:
    """Put the files that a pattern (with a *) matches now in its place, in order; anything else stays, for the caller to judge."""
    if not isinstance(paths, list | tuple):
        return paths
    return [found for path in paths for found in (sorted(glob(str(path))) if "*" in str(path) else [path])]  # noqa: PTH207 - absolute ones too


def _json_rows(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    return ((number, _json_row(line)) for number, line in enumerate(lines, start=1) if line.strip())


def _json_row(line: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({getattr(error, 'msg', type(error).__name__)})"
    return row if isinstance(row, dict) else f"must be an object, got {type(row).__name__}"


def _table_rows(lines: Sequence[str], delimiter: str, quoting: _Quoting) -> Iterator[tuple[int, dict[str, Any] | str]]:
    records = ((number, cells) for number, cells in _records(lines, delimiter, quoting) if cells)
    first, header = next(records, (1, []))
    if isinstance(header, str):
        yield first, header
        return
    for number, cells in records:
        if isinstance(cells, str):
            yield number, cells
        elif len(cells) != len(header):
            yield number, "has another number of columns than the header"
        else:
            yield number, dict(zip(header, cells, strict=True))


def _records(lines: Sequence[str], delimiter: str, quoting: _Quoting) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each record with its last line; of a broken one its first line and the reason, then go on at the line after it."""
    start = 0
    while start < len(lines):
        rest = map(lines.__getitem__, range(start, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, quoting=quoting, strict=True)
        done = 0
        try:
            for cells in reader:
                yield start + reader.line_num, cells
                done = reader.line_num
            start = len(lines)
        except csv.Error as error:
            start += done + 1
            yield start, f"{error}: a text with quotes must stand in quotes, and each quote in it be doubled"
