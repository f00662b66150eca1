"""Labelled texts from files of every accepted shape; de-duplicated, split by hash, weighed, digested."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semantic_service.contract.labels import Label, UnknownLabelError
from semantic_service.contract.tasks import Task
from semantic_service.contract.text import normalise, text_id
from training.errors import DataError
from training.rows import labelled_at, newest, scan_rows
from training.tasks import joined, task_labels


@dataclass(frozen=True, slots=True)
class Example:
    """A normalised text with its label, and where it stands. Only beside labels of further `tasks` its own may be missing.

    `labelled_at` is when annotators gave the label, in ISO 8601; it is empty where the row names none. `source` is who labels by habits
    of their own, as `data.sources` names them.
    """

    text: str
    label: Label | None
    file: str
    line: int
    tasks: Mapping[str, str] = field(default_factory=dict, hash=False)
    labelled_at: str = ""
    source: str = ""

    @property
    def id(self) -> str:
        """The text's id, as in `data/annotations`."""
        return text_id(self.text)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the file calls the text, the label, and, beside our own names for them, the labels; and the further tasks to look for."""

    text: str = "text"
    label: str = "label"
    label_names: Mapping[str, Label] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()

    def parse(self, label: object) -> Label:
        """Read a label as it stands in the file.

        Raises:
            UnknownLabelError: it is neither in `label_names` nor one of ours.

        """
        named = self.label_names.get(str(label))
        return Label.parse(label) if named is None else named


def read_examples(paths: Iterable[Path], columns: Columns = Columns()) -> list[Example]:
    """Read JSONL, CSV or TSV files.

    A row is `text` or `content` + `label`, Alpaca (`instruction` + `input`, `output`) or ShareGPT (first human turn,
    first gpt turn); a label is a name, an alias or an id. It may be missing where a label of a further task is there.

    Raises:
        DataError: at the first row that is none of these, has an empty text or an unknown label.

    """
    return [_example(path, line, row, columns) for path in paths for line, row in read_rows(path)]


def _example(path: Path, line: int, row: dict[str, Any], columns: Columns) -> Example:
    try:
        text, label = text_and_label(row, columns)
        severity = None if label is None else columns.parse(label)
        example = Example(normalise(text).text, severity, str(path), line, task_labels(row, columns.tasks), labelled_at(row))
    except (UnknownLabelError, DataError) as error:
        raise DataError(f"{path}:{line}: {error}") from error
    if not example.text:
        raise DataError(f"{path}:{line}: the text is empty")
    return example


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a file with its line number, as it stands.

    Raises:
        DataError: the file can't be read, has another ending than .jsonl, .csv or .tsv, or a line is broken.

    """
    for line, row in scan_rows(path):
        if line is None or isinstance(row, str):
            raise DataError(f"{path}: {row}" if line is None else f"{path}:{line}: {row}")
        yield line, row


def text_and_label(row: dict[str, Any], columns: Columns) -> tuple[str, object]:
    """Find a row's text and label, whatever its shape, as they stand. The label is None only beside a label of a further task.

    Raises:
        DataError: one is missing, or the text is none.

    """
    text, label = find_text(row, columns), row.get(columns.label)
    if "conversations" in row:
        label = _turn(row["conversations"], "gpt")
    elif "instruction" in row:
        label = row.get("output")
    if label in (None, "") and task_labels(row, columns.tasks):
        return text, None
    if label is None:
        raise DataError(f"no label: wanted {columns.label!r}, the row has {sorted(map(str, row))}")
    return text, label


def find_text(row: dict[str, Any], columns: Columns) -> str:
    """Find a row's text, whatever its shape, as it stands.

    Raises:
        DataError: it is missing, or none.

    """
    if "conversations" in row:
        return _turn(row["conversations"], "human")
    if "instruction" in row:
        return "\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key))
    text = row.get(columns.text, row.get("content"))
    if not isinstance(text, str):
        raise DataError(f"no text: wanted a text under {columns.text!r} or 'content', the row has {sorted(map(str, row))}")
    return text


def _turn(conversations: Any, speaker: str) -> str:
    if not isinstance(conversations, list):
        raise DataError("conversations must be a list of turns")
    for turn in conversations:
        if isinstance(turn, dict) and turn.get("from") == speaker and isinstance(turn.get("value"), str):
            return str(turn["value"])
    raise DataError(f"conversations have no {speaker} turn")


def read_benign(paths: Iterable[Path], columns: Columns = Columns(), most: int = 2000) -> list[Example]:
    """Read ordinary texts, labelled or not, as compliant ones without further tasks; of many, the `most` with the lowest ids.

    Raises:
        DataError: at the first row that has no text.

    """
    columns = replace(columns, tasks=())
    rows = ((path, line, row) for path in paths for line, row in read_rows(path))
    examples = [_example(path, line, _as_benign(row, columns), columns) for path, line, row in rows]
    return sorted(deduplicate(examples), key=lambda example: example.id)[:most]


def _as_benign(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    benign = row | {columns.label: Label.COMPLIANT, "output": Label.COMPLIANT}
    if isinstance(row.get("conversations"), list):
        benign["conversations"] = [{"from": "gpt", "value": Label.COMPLIANT.english}, *row["conversations"]]  # the first gpt turn counts
    return benign


def deduplicate(examples: Iterable[Example]) -> list[Example]:
    """Keep the first of equal texts; texts that come with several labels keep the most frequent, the severest of ties.

    What annotators said later replaces what was said before: only the newest rows of a text count. Its labels of further tasks are
    joined from all copies, so that one file may hold the severity and another the category.
    """
    by_id: dict[str, list[Example]] = {}
    for example in examples:
        by_id.setdefault(example.id, []).append(example)
    return [_agreed(copies) for copies in by_id.values()]


def _agreed(copies: Sequence[Example]) -> Example:
    labelled = newest([copy for copy in copies if copy.label is not None])
    counts = Counter(copy.label for copy in labelled)
    label = max(counts, key=lambda candidate: (counts[candidate], candidate), default=None)
    kept = next(copy for copy in labelled or copies if copy.label == label)
    return replace(kept, tasks=joined(copy.tasks for copy in copies))


def without(examples: Iterable[Example], held_out: Iterable[Example]) -> list[Example]:
    """Drop the examples whose text is held out, so that no test text is trained on."""
    held = {example.id for example in held_out}
    return [example for example in examples if example.id not in held]


def split(examples: Iterable[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Split into train and validation by the hash of the text: the same text always falls on the same side.

    The hash's second half decides; its first half is what `data.repeat` draws by, which must not depend on this split.
    """
    train: list[Example] = []
    validation: list[Example] = []
    for example in examples:
        (validation if int(example.id[8:], 16) < share * 2**32 else train).append(example)
    return train, validation


def class_weights(examples: Iterable[Example]) -> tuple[float, ...]:
    """Weigh each label by total / (labels * count), as scikit-learn's `balanced`.

    Raises:
        DataError: a label has no example.

    """
    counts = Counter(example.label for example in examples if example.label is not None)
    if absent := [label.english for label in Label if not counts[label]]:
        raise DataError(f"no training example is {absent[0]}: add some, or set train.class_weights to none")
    return tuple(counts.total() / (len(Label) * counts[label]) for label in Label)


def digest(examples: Iterable[Example]) -> str:
    """Digest texts and labels, whatever their order."""
    lines = sorted(" ".join((example.id, *_digested(example))) for example in examples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _digested(example: Example) -> Iterator[str]:
    yield "-" if example.label is None else str(int(example.label))
    yield from (f"{task}={label}" for task, label in sorted(example.tasks.items()))
