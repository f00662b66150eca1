"""Check data files before training: rows that are broken, empty, doubled, contradictory, leaking or out of balance."""

import csv
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semantic_service.contract.labels import LABEL_NAMES, Label, UnknownLabelError
from semantic_service.contract.text import normalise
from training.dataset import Columns, DataError, text_and_label

SMALL_SHARE = 0.02  # a label below it is rarely learnt
SHOWN = 3  # places that a finding names; `as_dict` has all

_TABLES = {".csv": (",", csv.QUOTE_MINIMAL), ".tsv": ("\t", csv.QUOTE_NONE)}
_WORD = re.compile(r"[\w.-]{0,20}", re.ASCII)  # what is shown of a file's content: such labels and column names, never a text


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a row can't be used; with no line, why a file can't."""

    line: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Where a text stands, and its label there."""

    file: str
    line: int
    label: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Characters of the normalised texts."""

    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file holds. `rows` counts every row; `counts`, by label, the usable ones."""

    file: str
    rows: int
    counts: dict[str, int]
    lengths: Lengths | None  # None: no usable row
    doubled: tuple[int, ...]  # lines whose text stands further up in the file
    empty: tuple[int, ...]  # lines with no visible character in their text
    broken: tuple[Flaw, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Each label's part of the usable rows."""
        return _shares(self.counts)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the files hold, one by one and together. `repeated` lists, for each text that stands in several rows, all of them."""

    files: tuple[FileReport, ...]
    repeated: tuple[tuple[Occurrence, ...], ...]

    @property
    def counts(self) -> dict[str, int]:
        """Usable rows by label, over all files."""
        return {name: sum(report.counts[name] for report in self.files) for name in LABEL_NAMES}

    @property
    def conflicts(self) -> tuple[tuple[Occurrence, ...], ...]:
        """The repeated texts that have several labels."""
        return tuple(rows for rows in self.repeated if len({row.label for row in rows}) > 1)

    @property
    def leaks(self) -> dict[tuple[str, str], tuple[tuple[Occurrence, Occurrence], ...]]:
        """For each two files that share texts, each shared text's first row in both."""
        pairs: dict[tuple[str, str], list[tuple[Occurrence, Occurrence]]] = defaultdict(list)
        for rows in self.repeated:
            first = list({row.file: row for row in reversed(rows)}.values())[::-1]
            for index, one in enumerate(first):
                for other in first[index + 1 :]:
                    pairs[one.file, other.file].append((one, other))
        return {files: tuple(rows) for files, rows in pairs.items()}

    @property
    def problems(self) -> tuple[str, ...]:
        """What must be put right, each with its place and what to do; rows with the same flaw share an entry."""
        return (*_flaws(self.files), *_absent_labels(self), *_conflicts(self), *_leaks(self))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What training copes with, but somebody should know."""
        return (*_small_shares(self), *_doubled(self.files))

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values; nothing is left out, and no text is in."""
        return {
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "counts": self.counts,
            "shares": _shares(self.counts),
            "files": [asdict(report) | {"shares": report.shares} for report in self.files],
            "conflicts": [[asdict(row) for row in rows] for rows in self.conflicts],
            "leaks": [
                {"files": list(files), "texts": [[asdict(row) for row in rows] for rows in shared]} for files, shared in self.leaks.items()
            ],
        }


def examine(files: Sequence[Path], columns: Columns) -> Diagnosis:
    """Read every row of the files, whatever is wrong with others. A file named twice is read once."""
    places: dict[str, list[Occurrence]] = defaultdict(list)
    reports = tuple(_examine_file(path, columns, places) for path in dict.fromkeys(files))
    return Diagnosis(reports, tuple(tuple(rows) for rows in places.values() if len(rows) > 1))


def _examine_file(path: Path, columns: Columns, places: dict[str, list[Occurrence]]) -> FileReport:
    """Report on one file, and note in `places` where each of its texts stands."""
    rows, lengths, counts = 0, [], Counter[str]()
    doubled, empty, broken = [], [], []
    for line, row in _rows(path):
        rows += line is not None
        text, label, reason = _parse(row, columns)
        if reason is not None:
            broken.append(Flaw(line, reason))
        if text == "" and line is not None:
            empty.append(line)
        if not text or label is None or line is None:
            continue
        if places[text] and places[text][-1].file == str(path):
            doubled.append(line)
        places[text].append(Occurrence(str(path), line, label.english))
        counts[label.english] += 1
        lengths.append(len(text))
    by_label = {name: counts[name] for name in LABEL_NAMES}
    return FileReport(str(path), rows, by_label, _percentiles(lengths), tuple(doubled), tuple(empty), tuple(broken))


def _parse(row: dict[str, Any] | str, columns: Columns) -> tuple[str | None, Label | None, str | None]:
    """Give a row's normalised text, its label, and why one of them is None."""
    if isinstance(row, str):
        return None, None, row
    text, value = None, None
    try:
        original, value = text_and_label({_shown_key(key, columns): cell for key, cell in row.items()}, columns)
        text = normalise(original).text
        return text, Label.parse(value), None
    except UnknownLabelError:
        shown = repr(value) if _WORD.fullmatch(str(value)) else "(not shown, it may be a text)"
        return text, None, f"unknown label {shown}: use {', '.join(LABEL_NAMES)}, one of their aliases or an id 0, 1, 2"
    except DataError as error:
        return None, None, str(error)


def _shown_key(key: str, columns: Columns) -> str:
    is_name = key in (columns.text, columns.label) or _WORD.fullmatch(key)
    return key if is_name else f"({len(key)} characters; a text where the header should be?)"


def _rows(path: Path) -> Iterator[tuple[int | None, dict[str, Any] | str]]:
    """Yield each row as `dataset.read_rows` does, but for a broken one the reason, and go on behind it."""
    if path.suffix != ".jsonl" and path.suffix not in _TABLES:
        yield None, f"the name must end in .jsonl, {', '.join(_TABLES)}"
        return
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = file.readlines()
    except OSError as error:
        yield None, f"can't be read ({error.strerror})"
        return
    yield from _json_rows(lines) if path.suffix == ".jsonl" else _table_rows(lines, *_TABLES[path.suffix])


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not _is_utf8(line):
            yield number, _NOT_UTF8
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"not JSON ({error.msg} at column {error.colno})"
        except (ValueError, RecursionError) as error:
            yield number, f"not usable JSON ({type(error).__name__}: a number too long, or too many brackets)"
        else:
            yield number, row if isinstance(row, dict) else f"must be an object, got {type(row).__name__}"


def _table_rows(lines: Sequence[str], delimiter: str, quoting: int) -> Iterator[tuple[int, dict[str, Any] | str]]:
    header: list[str] = []
    for number, cells in _records(lines, delimiter, quoting):
        if isinstance(cells, str) or not _is_utf8("".join(cells)):
            yield number, cells if isinstance(cells, str) else _NOT_UTF8
            if not header:
                return  # without a header the cells have no names
        elif not header:
            header = cells
        elif cells and len(cells) != len(header):
            yield number, "has another number of columns than the header"
        elif cells:
            yield number, dict(zip(header, cells, strict=True))


def _records(lines: Sequence[str], delimiter: str, quoting: int) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each record with its last line; of a broken one its first line and the reason, then go on at the line after that."""
    start = 0
    while start < len(lines):
        reader = csv.reader(map(lines.__getitem__, range(start, len(lines))), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]  # the stub wants a literal
        done = 0
        try:
            for cells in reader:
                yield start + reader.line_num, cells
                done = reader.line_num
        except csv.Error as error:
            start += done + 1
            yield start, f"{error}: put a text with quotes, commas or line breaks in quotes, and double the quotes in it"
        else:
            return


_NOT_UTF8 = "not UTF-8: save the file as UTF-8, as with `iconv -f gb18030 -t utf-8`"


def _is_utf8(line: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in line)


def _percentiles(lengths: list[int]) -> Lengths | None:
    """Nearest-rank percentiles."""
    ordered = sorted(lengths)
    return Lengths(*(ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.99, 1))) if ordered else None


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total if total else 0.0 for name, count in counts.items()}
