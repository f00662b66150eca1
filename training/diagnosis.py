"""What is wrong with data files: the findings, in words and as a table."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from itertools import combinations, groupby
from typing import Any

from semantic_service.contract.labels import LABEL_NAMES
from training.rows import newest
from training.tables import markdown_table

SMALL_SHARE = 0.02  # a label below it is rarely learnt
SHOWN = 3  # places that a finding names; `as_dict` has all


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a row can't be used; with no line, why a file can't."""

    line: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Where a text stands, and its labels there: the severity, if it has one, and those of further tasks."""

    file: str
    line: int
    label: str | None
    tasks: Mapping[str, str] = field(default_factory=dict, hash=False)
    labelled_at: str = ""  # when annotators gave the label, ISO 8601; empty where the row names none

    @property
    def labels(self) -> str:
        """Every label that it has there."""
        return " ".join(filter(None, (self.label, *self.tasks.values())))

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
    """What one file holds. `rows` counts every row; `counts`, by label, the usable ones; `tasks` does so for each further task."""

    file: str
    rows: int
    counts: dict[str, int]
    lengths: Lengths | None  # None: no usable row
    doubled: tuple[int, ...]  # lines whose text stands further up in the file
    empty: tuple[int, ...]  # lines with no visible character in their text
    broken: tuple[Flaw, ...]
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """Each label's part of the usable rows."""
        return _shares(self.counts)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the files hold, one by one and together.

    `repeated` lists, for each text that stands in several rows, all of them; `alike` the rows whose texts differ in punctuation, digits,
    emoji or blanks alone, of texts that stand in one file each.
    """

    files: tuple[FileReport, ...]
    repeated: tuple[tuple[Occurrence, ...], ...]
    alike: tuple[tuple[Occurrence, ...], ...]

    @property
    def counts(self) -> dict[str, int]:
        """Usable rows by label, over all files."""
        return {name: sum(report.counts[name] for report in self.files) for name in LABEL_NAMES}

    @property
    def tasks(self) -> dict[str, dict[str, int]]:
        """Usable rows by further task and label, over all files."""
        totals: dict[str, dict[str, int]] = {}
        for report in self.files:
            for task, counts in report.tasks.items():
                before = totals.get(task, {})
                totals[task] = {label: before.get(label, 0) + count for label, count in counts.items()}
        return totals

    @property
    def conflicts(self) -> tuple[tuple[Occurrence, ...], ...]:
        """The repeated texts that have several labels of one task; a label that a row lacks contradicts none, nor does a newer one."""
        return tuple(rows for rows in self.repeated if _disagree(_severities(rows)) or any(_disagree(some) for some in _by_task(rows)))

    @property
    def leaks(self) -> Mapping[tuple[str, str], Sequence[tuple[Occurrence, Occurrence]]]:
        """For each two files that share texts, each shared text's first row in both."""
        return _across_files(self.repeated)

    @property
    def near_leaks(self) -> Mapping[tuple[str, str], Sequence[tuple[Occurrence, Occurrence]]]:
        """For each two files with texts that are alike, the first such rows in both."""
        return _across_files(self.alike)

    @property
    def unusable(self) -> tuple[str, ...]:
        """The problems that training refuses, of files and rows, each with its place and what to do; rows with one flaw share an entry."""
        return tuple(_unusable(self.files))

    @property
    def problems(self) -> tuple[str, ...]:
        """What must be put right, the unusable first."""
        return (*self.unusable, *_absent(self), *_shared(self))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What training copes with, but somebody should know."""
        return tuple(_tolerable(self))

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values; every place is in, and no text."""
        found = {"problems": self.problems, "warnings": self.warnings, "counts": self.counts, "shares": _shares(self.counts)}
        found["tasks"] = self.tasks
        return found | asdict(self) | {"files": [asdict(report) | {"shares": report.shares} for report in self.files]}


def _disagree(labels: Iterable[str | None]) -> bool:
    return len({*labels} - {None}) > 1


def _severities(rows: Sequence[Occurrence]) -> list[str | None]:
    return [row.label for row in newest([row for row in rows if row.label is not None])]


def _by_task(rows: Sequence[Occurrence]) -> Iterator[list[str | None]]:
    for task in {task for row in rows for task in row.tasks}:
        yield [row.tasks.get(task) for row in rows]


def _across_files(groups: Iterable[Sequence[Occurrence]]) -> dict[tuple[str, str], list[tuple[Occurrence, Occurrence]]]:
    """Pair the first row that each group has in one file with its first in another."""
    pairs = defaultdict(list)
    for rows in groups:
        for one, other in combinations((next(group) for _, group in groupby(rows, lambda row: row.file)), 2):
            pairs[one.file, other.file].append((one, other))
    return pairs


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total if total else 0.0 for name, count in counts.items()}


def _named(places: Iterable[object]) -> str:
    shown = [str(place) for place in places]
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def _unusable(files: Iterable[FileReport]) -> Iterator[str]:
    for report in files:
        places: dict[str, list[str]] = defaultdict(list)
        for flaw in report.broken:
            places[flaw.reason].append(report.file if flaw.line is None else f"{report.file}:{flaw.line}")
        places["the text is empty, or nothing in it is visible: delete the row"].extend(f"{report.file}:{line}" for line in report.empty)
        yield from (f"{_named(rows)}: {reason}" for reason, rows in places.items() if rows)
        if report.lengths is None:
            yield f"{report.file}: has no usable row"


def _absent(diagnosis: Diagnosis) -> Iterator[str]:
    further = {f"{task} {label}": count for task, counts in diagnosis.tasks.items() for label, count in counts.items()}
    for name, count in {**diagnosis.counts, **further}.items():
        if not count:
            yield f"no row is {name}: a model can't learn a label that it never sees, add rows of it"


def _shared(diagnosis: Diagnosis) -> Iterator[str]:
    if found := diagnosis.conflicts:
        texts = _named(" = ".join(f"{row} {row.labels}" for row in rows) for rows in found)
        yield f"texts with several labels: {len(found)} ({texts}): decide on one each; training would take the most frequent"
    for (one, other), shared in diagnosis.leaks.items():
        texts = _named(f"{row} = {twin}" for row, twin in shared)
        yield f"texts in both {one} and {other}: {len(shared)} ({texts}): if one file measures the model, take them out of the other"


def _tolerable(diagnosis: Diagnosis) -> Iterator[str]:
    for name, share in _shares(diagnosis.counts).items():
        if 0 < share < SMALL_SHARE:
            yield f"{share:.2%} of the rows are {name}, less than {SMALL_SHARE:.0%}: a model rarely learns so few, add rows of it"
    for report in diagnosis.files:
        if report.doubled:
            yield f"{report.file}: {len(report.doubled)} doubled (line {_named(report.doubled)}): training keeps one row of each text"
    for (one, other), pairs in diagnosis.near_leaks.items():
        texts = _named(f"{row} ~ {twin}" for row, twin in pairs)
        yield (
            f"texts in {one} and {other} that differ in punctuation, digits or emoji alone: {len(pairs)} ({texts}): "
            "if one file measures the model, it measures these too well"
        )


def to_markdown(diagnosis: Diagnosis) -> str:
    """Write the diagnosis for a terminal: a table of the files, then what to do, without any text of theirs."""
    rows = [_row(report) for report in diagnosis.files]
    if len(rows) > 1:
        rows.append(["all", str(sum(report.rows for report in diagnosis.files)), *_balance(diagnosis.counts), *[""] * 7])
    names = ["file", "rows", *LABEL_NAMES, "p50", "p90", "p99", "max", "doubled", "empty", "broken"]
    parts = [markdown_table(names, rows), "p50 to max: characters of the normalised texts."]
    parts += [f"{task}: " + ", ".join(f"{label} {count:,}" for label, count in counts.items()) for task, counts in diagnosis.tasks.items()]
    for title, findings in (("Problems", diagnosis.problems), ("Warnings", diagnosis.warnings)):
        parts.append(f"## {title}\n\n" + ("\n".join(f"- {finding}" for finding in findings) or "None."))
    return "\n\n".join(parts)


def _row(report: FileReport) -> list[str]:
    lengths = [""] * 4 if report.lengths is None else map(str, astuple(report.lengths))
    found = [str(len(lines)) for lines in (report.doubled, report.empty, report.broken)]
    return [report.file, str(report.rows), *_balance(report.counts), *lengths, *found]


def _balance(counts: dict[str, int]) -> list[str]:
    return [f"{counts[name]} ({share:.1%})" for name, share in _shares(counts).items()]
