"""Check data files before training: rows that are broken, empty, doubled, contradictory, leaking or out of balance."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_service.contract.labels import LABEL_NAMES, Label, UnknownLabelError
from semantic_service.contract.text import normalise
from training.dataset import Columns, text_and_label
from training.diagnosis import Diagnosis, FileReport, Flaw, Lengths, Occurrence
from training.errors import DataError
from training.rows import labelled_at, scan_rows
from training.tasks import task_labels

SHORT = 6  # letters; shorter texts are often alike by chance

_WORD = re.compile(r"[\w.-]{0,20}", re.ASCII)  # what is shown of a file's content: such labels and column names, never a text
_HIDDEN = "(not shown, it may be a text)"


def examine(files: Sequence[Path], columns: Columns) -> Diagnosis:
    """Read every row of the files, whatever is wrong with others. A file named twice is read once."""
    places: dict[str, list[Occurrence]] = defaultdict(list)
    reports = tuple(_examine_file(path, columns, places) for path in dict.fromkeys(files))
    return Diagnosis(reports, tuple(tuple(rows) for rows in places.values() if len(rows) > 1), _alike(places))


def _alike(places: Mapping[str, Sequence[Occurrence]]) -> tuple[tuple[Occurrence, ...], ...]:
    """Group the texts that are equal by their letters; one that leaks as it stands needs no second mention."""
    groups: dict[str, list[Occurrence]] = defaultdict(list)
    for text, rows in places.items():
        letters = "".join(filter(str.isalpha, text))
        if len(letters) >= SHORT and len({row.file for row in rows}) == 1:
            groups[letters].append(rows[0])
    return tuple(tuple(rows) for rows in groups.values() if len(rows) > 1)


def _examine_file(path: Path, columns: Columns, places: dict[str, list[Occurrence]]) -> FileReport:
    """Report on one file, and note in `places` where each of its texts stands."""
    rows, lengths, counts, further = 0, [], Counter[str | None](), Counter[tuple[str, str]]()
    doubled, empty, broken = [], [], []
    for line, row in scan_rows(path):
        rows += line is not None
        text, label, reason = parse(row, columns)
        if reason is not None:
            broken.append(Flaw(line, reason))
        if text == "" and line is not None:
            empty.append(line)
        if not text or reason is not None or line is None or isinstance(row, str):
            continue
        severity = None if label is None else label.english
        tasks = task_labels(row, columns.tasks)
        if places[text] and places[text][-1].file == str(path):
            doubled.append(line)
        places[text].append(Occurrence(str(path), line, severity, tasks, labelled_at(row)))
        counts[severity] += 1
        further.update(tasks.items())
        lengths.append(len(text))
    by_task = {task.name: {name: further[task.name, name] for name in task.labels} for task in columns.tasks}
    found = tuple(doubled), tuple(empty), tuple(broken), by_task
    return FileReport(str(path), rows, {name: counts[name] for name in LABEL_NAMES}, _percentiles(lengths), *found)


def parse(row: dict[str, Any] | str, columns: Columns) -> tuple[str | None, Label | None, str | None]:
    """Give a row's normalised text, its severity, and why it can't be used; the reason holds no text.

    Without a reason the text is there, and the severity is None only beside labels of further tasks.
    """
    if isinstance(row, str):
        return None, None, row
    text, value, names = None, None, (columns.text, columns.label, *(task.name for task in columns.tasks))
    try:
        original, value = text_and_label({key if _WORD.fullmatch(key) or key in names else _HIDDEN: row[key] for key in row}, columns)
        text = normalise(original).text
        task_labels(row, columns.tasks)
        return text, None if value is None else columns.parse(value), None
    except UnknownLabelError:
        shown = repr(value) if _WORD.fullmatch(str(value)) else _HIDDEN
        return text, None, f"unknown label {shown}: use {', '.join(LABEL_NAMES)}, one of their aliases or an id 0, 1, 2"
    except DataError as error:
        return None, None, str(error)


def _percentiles(lengths: list[int]) -> Lengths | None:
    """Nearest-rank percentiles."""
    ordered = sorted(lengths)
    return Lengths(*(ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.99, 1))) if ordered else None
