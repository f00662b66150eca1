"""The labels that a row has of further tasks, beside its severity."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semantic_service.contract.tasks import Task
from training.errors import DataError

# What a row calls other things: no task's column can have such a name.
OTHER_COLUMNS = ("text", "content", "label", "labels", "instruction", "input", "output", "conversations")


def task_labels(row: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, str]:
    """Find the labels that a row has of the tasks: under `labels`, by task, or in a column named like the task; null and "" are none.

    A row may have labels of other tasks too, which this model is not trained for.

    Raises:
        DataError: `labels` is no object, or a label is not one of its task's.

    """
    grouped = row.get("labels") or {}
    if tasks and not isinstance(grouped, dict):
        raise DataError("labels must be an object of tasks and their labels")
    given = {task: grouped.get(task.name, row.get(task.name)) for task in tasks}
    return {task.name: _parsed(task, value) for task, value in given.items() if value not in (None, "")}


def _parsed(task: Task, value: object) -> str:
    label = str(value).strip().lower()
    if label not in task.labels:
        shown = f" {label!r}" if label.isascii() and label.isidentifier() else ""  # else it may be a text
        raise DataError(f"unknown label{shown} of task {task.name}: use one of {', '.join(task.labels)}")
    return label


def joined(several: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Join what the copies of one text say: of each task the most frequent label, the first of ties."""
    counts: dict[str, Counter[str]] = {}
    for labels in several:
        for task, label in labels.items():
            counts.setdefault(task, Counter())[label] += 1
    return {task: count.most_common(1)[0][0] for task, count in counts.items()}


def require_every_label(rows: Sequence[Mapping[str, str]], tasks: Iterable[Task]) -> None:
    """Refuse to train for what can't be learnt.

    Raises:
        DataError: a task, or a label of one, has no row.

    """
    for task in tasks:
        present = require_task(rows, task, "train")
        if absent := [label for label in task.labels if label not in present]:
            raise DataError(f"no training row has {task.name} {absent[0]}: add some, or take the label out of tasks.{task.name}")


def require_task(rows: Sequence[Mapping[str, str]], task: Task, name: str) -> set[str]:
    """Give the labels that the rows of a set have of a task.

    Raises:
        DataError: there is none.

    """
    present = {row[task.name] for row in rows if task.name in row}
    if not present:
        raise DataError(f"{name} has no row with a label of task {task.name}: add a column {task.name}, or take it out of tasks")
    return present
