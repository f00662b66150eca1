"""Labels on disk: each batch from annotators is a file of its own in data/annotations, and nothing is written twice."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from annotation.errors import LabelsError
from semantic_service.contract.bundle import write_atomically
from semantic_service.contract.records import Record, RecordError

FOLDER = Path("data/annotations")
_BATCH = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]-*.jsonl"  # <date>-<n>.jsonl


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch brought: `added` posts without a label before, `changed` with another one; without either there is no file."""

    file: Path | None
    added: int
    changed: int


def append(folder: Path, records: Iterable[Record], now: datetime) -> Written:
    """Write the records that say something new to `<date>-<n>.jsonl`.

    New is a text that no file of the folder has, under another label than its newest line there, and a later one. A kill leaves the
    whole file or none.

    Raises:
        LabelsError: a file of the folder can't be read.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        known = newest(read_folder(folder))
        fresh = [record for record in newest(records).values() if _is_news(record, known.get(record.id))]
        if not fresh:
            return Written(None, 0, 0)
        path = _next(folder, now)
        write_atomically(path, "".join(record.to_json() + "\n" for record in fresh))
    changed = sum(record.id in known for record in fresh)
    return Written(path, len(fresh) - changed, changed)


def newest(records: Iterable[Record]) -> dict[str, Record]:
    """Keep each text's newest record, by id; of equally old ones the last."""
    kept: dict[str, Record] = {}
    for record in records:
        if record.id not in kept or record.created_at >= kept[record.id].created_at:
            kept[record.id] = record
    return kept


def read_folder(folder: Path) -> Iterator[Record]:
    """Read every label there is.

    Raises:
        LabelsError: a file can't be read.

    """
    for path in sorted(folder.glob("*.jsonl")):
        yield from read_records(path)


def read_records(path: Path) -> Iterator[Record]:
    """Read gold posts, or the list that `python -m training doctor FILES --label-errors LIST` wrote, the least believable first.

    Raises:
        LabelsError: the file can't be read, or a line is no record.

    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"{path}: can't be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _record(line, f"{path}:{number}")


def _record(line: str, place: str) -> Record:
    try:
        values = json.loads(line)
        values.pop("suggested", None)  # what the doctor adds to a record
        values.pop("self_confidence", None)
        return Record.from_json(json.dumps(values))
    except (ValueError, AttributeError, RecursionError) as error:
        reason = str(error) if isinstance(error, RecordError) else "not a JSON object"
        raise LabelsError(f"{place}: {reason}; data/annotations/README.md says what a line looks like") from error


def count_labels(folder: Path) -> int:
    """Count the labels that annotators' batches have brought, corrections too."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(_BATCH))


def _is_news(record: Record, known: Record | None) -> bool:
    return known is None or (record.label != known.label and record.created_at > known.created_at)


def _next(folder: Path, now: datetime) -> Path:
    taken = [path.stem.rpartition("-")[2] for path in folder.glob(f"{now:%Y-%m-%d}-*.jsonl")]
    return folder / f"{now:%Y-%m-%d}-{1 + max((int(number) for number in taken if number.isdecimal()), default=0)}.jsonl"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time read and write; and sweep up what a killed one left."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for partial in folder.glob(".*.jsonl.*.partial"):
            partial.unlink()
        yield
    finally:
        os.close(descriptor)
