"""Where the posts to choose from come from: the review store, a scored dump, or texts that the running service judges."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from annotation.errors import PoolError
from annotation.service import Post, Service
from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.text import normalise
from semantic_service.contract.verdict import DEFAULT_SCENE, Decider, Suggestion
from semantic_service.store.store import Store

_SCORES = tuple(f"p_{name}" for name in LABEL_NAMES)
_ROUNDING = 0.01  # of three probabilities with four decimals, and to spare


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that can't be used, and why; never what it says."""

    place: str  # file:line
    reason: str


@dataclass(frozen=True, slots=True)
class _Row:
    place: str
    values: Mapping[str, Any]  # by column
    post: Post


_Values = Mapping[str, Any] | str  # or why there are none


def read(source: str, text_column: str, service: Service) -> Iterator[Review | Skipped]:
    """Read the review store, where `source` is a SQLAlchemy URL, else a file.

    A TSV that `semantic_service.batch` scored is taken as it is. The texts of any other TSV, JSONL or text file (a post a line) are
    judged by the service. Of a file's columns, `data_id` and `scene` are read too.

    Raises:
        StoreError: the database can't be used.
        PoolError: the file can't be read, or its header lacks the text column.
        ServiceError: the service is needed, and refuses or does not answer.

    """
    if "://" not in source:
        return _from_file(Path(source), text_column, service)
    return _from_store(source)


def _from_store(url: str) -> Iterator[Review]:
    with closing(Store.open(url)) as store:
        yield from store.reviews()


def _from_file(path: Path, text_column: str, service: Service) -> Iterator[Review | Skipped]:
    rows: list[_Row] = []
    for row in _rows(path, text_column):
        if isinstance(row, Skipped):
            yield row
        else:
            rows.append(row)
    if rows and rows[0].values.keys() >= set(_SCORES):
        moment = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        yield from (_scored(row, moment) for row in rows)
    else:
        judged = zip(rows, service.judge([row.post for row in rows]), strict=True)
        yield from (Skipped(row.place, review) if isinstance(review, str) else review for row, review in judged)


def _rows(path: Path, text_column: str) -> Iterator[_Row | Skipped]:
    if path.suffix not in _READERS:
        raise PoolError(
            f"{path}: the name must end in {', '.join(_READERS)}; the review store is given as sqlite:///FILE or postgresql://…"
        )
    try:
        with path.open("rb") as file:
            for number, values in _READERS[path.suffix](file, text_column):
                yield _row(f"{path}:{number}", values, text_column)
    except OSError as error:
        raise PoolError(f"{path}: can't be read ({error.strerror})") from error
    except LookupError as error:
        raise PoolError(f"{path}: {error.args[0]}") from error


def _row(place: str, values: _Values, text_column: str) -> _Row | Skipped:
    if isinstance(values, str):
        return Skipped(place, values)
    text, data_id = values.get(text_column), values.get("data_id")
    if not isinstance(text, str) or not normalise(text).text:
        return Skipped(place, f"no text in {text_column!r}")
    return _Row(place, values, Post(text, str(values.get("scene") or DEFAULT_SCENE), None if data_id is None else str(data_id)))


def _decoded(lines: Iterable[bytes]) -> Iterator[tuple[int, str | None]]:
    """Number the lines; None for one that is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, None


_NOT_UTF8 = "not UTF-8: save the file as UTF-8, as with `iconv -f gb18030 -t utf-8`"


def _tsv_rows(lines: Iterable[bytes], text_column: str) -> Iterator[tuple[int, _Values]]:
    numbered = _decoded(lines)
    header = (next(numbered, (1, ""))[1] or "").split("\t")
    if text_column not in header:
        raise LookupError(f"no column {text_column!r}: the header has {', '.join(header)}; choose one with --text-column")
    for number, line in numbered:
        cells = [] if line is None else line.split("\t")
        if line is None:
            yield number, _NOT_UTF8
        elif len(cells) != len(header):
            yield number, f"{len(cells)} columns, where the header has {len(header)}"
        else:
            yield number, dict(zip(header, cells, strict=True))


def _json_rows(lines: Iterable[bytes], _: str) -> Iterator[tuple[int, _Values]]:
    for number, line in _decoded(lines):
        try:
            values = json.loads(line or "")
        except (ValueError, RecursionError):
            values = None
        yield number, values if isinstance(values, dict) else _NOT_UTF8 if line is None else "not a JSON object"


def _text_rows(lines: Iterable[bytes], text_column: str) -> Iterator[tuple[int, _Values]]:
    for number, line in _decoded(lines):
        yield number, _NOT_UTF8 if line is None else {text_column: line}


_READERS: Mapping[str, Callable[[Iterable[bytes], str], Iterator[tuple[int, _Values]]]] = MappingProxyType(
    {".tsv": _tsv_rows, ".jsonl": _json_rows, ".txt": _text_rows}
)


def _scored(row: _Row, moment: str) -> Review | Skipped:
    if row.values.get("error"):
        return Skipped(row.place, "it was not judged: its column 'error' says why")
    try:
        first, second, third = (float(row.values[name]) for name in _SCORES)
        if not math.isclose(first + second + third, 1, abs_tol=_ROUNDING) or min(first, second, third) < 0:
            return Skipped(row.place, f"{', '.join(_SCORES)} are no probabilities")
        return Review(
            text=row.post.text,
            probabilities=(first, second, third),
            label=Label.parse(row.values["label"]),
            suggestion=Suggestion(row.values["suggestion"]),
            model_version=row.values["model_version"],
            created_at=moment,
            is_uncertain={"true": True, "false": False}[row.values["uncertain"]],
            scene=row.post.scene,
            decided_by=Decider(row.values["decided_by"]),
            data_id=row.post.data_id,
        )
    except (KeyError, ValueError):  # whose message may hold the text
        return Skipped(row.place, "not as `python -m semantic_service.batch` writes it")
