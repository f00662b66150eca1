"""Measurements as Markdown tables that line up on a terminal too."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semantic_service.contract.labels import LABEL_NAMES, Label

if TYPE_CHECKING:  # the doctor has tables too, and must not wait for scikit-learn
    from training.evaluate import Metrics, TaskMetrics

LEGEND = """Flagged: the label is not compliant. False positives: the share of the compliant rows that is flagged. AUC: of flagged.
In brackets: the 95 % bootstrap interval. ECE: the mean gap between confidence and accuracy, before and after calibration."""


def markdown_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose columns line up; all but the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in (names, *rows)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def summary_table(metrics: "Mapping[str, Metrics]") -> str:
    """Write one Markdown row for each file. Flagged means that the label is not compliant."""
    names = ["file", "rows", "accuracy", "macro-F1", "flagged: accuracy", "F1", "false positives", "AUC", "ECE before -> after"]
    return markdown_table(names, [_summary(name, values) for name, values in metrics.items()])


def _summary(name: str, metrics: "Metrics") -> list[str]:
    flagged = metrics.flagged
    intervals = metrics.intervals
    numbers = [
        _with_interval(metrics.accuracy, intervals.accuracy),
        _with_interval(metrics.macro_f1, intervals.macro_f1),
        _with_interval(flagged.accuracy, intervals.flagged_accuracy),
        decimal(None if flagged.false_negative_rate is None else flagged.f1),  # nothing to flag in the file
        _with_interval(flagged.false_positive_rate, intervals.false_positive_rate, ".2%"),
    ]
    calibration = f"{decimal(metrics.ece_before_calibration)} -> {decimal(metrics.ece)}"
    return [cell(name), f"{metrics.rows:,}", *numbers, decimal(flagged.auc), calibration]


def _with_interval(value: float | None, interval: Sequence[float] | None, form: str = ".4f") -> str:
    return "–" if value is None or interval is None else f"{value:{form}} ({interval[0]:{form}}–{interval[1]:{form}})"


def class_table(metrics: "Metrics") -> str:
    """Write precision, recall, F1 and AUC of each label, and of flagged."""
    rows = []
    for name, values in metrics.labels.items():
        recall, f1 = (values.recall, values.f1) if values.support else (None, None)
        rows.append([name, f"{values.support:,}", *map(decimal, (values.precision, recall, f1, values.auc))])
    flagged = metrics.flagged
    recall, f1 = (None, None) if flagged.false_negative_rate is None else (flagged.recall, flagged.f1)
    support = metrics.rows - metrics.labels[Label.COMPLIANT.english].support
    rows.append(["flagged", f"{support:,}", *map(decimal, (flagged.precision, recall, f1, flagged.auc))])
    return markdown_table(["label", "rows", "precision", "recall", "F1", "AUC"], rows)


def task_table(metrics: "Mapping[str, Metrics]") -> str:
    """Write one Markdown row for each further task of each file, measured on the rows that have a label of it."""
    found = [(name, task, values) for name, measured in metrics.items() for task, values in measured.tasks.items()]
    names = ["file", "task", "rows", "accuracy", "macro-F1", "ECE", "F1 by label"]
    rows = [[cell(name), task, f"{values.rows:,}", *_decimals(values), _by_label(values)] for name, task, values in found]
    return markdown_table(names, rows)


def _decimals(values: "TaskMetrics") -> list[str]:
    return [decimal(value) for value in (values.accuracy, values.macro_f1, values.ece)]


def _by_label(values: "TaskMetrics") -> str:
    return ", ".join(f"{label} {f1:.2f}" for label, f1 in values.f1.items())


def confusion_table(metrics: "Metrics") -> str:
    """Write the confusion matrix."""
    rows = [[name, *(f"{count:,}" for count in counts)] for name, counts in zip(LABEL_NAMES, metrics.confusion, strict=True)]
    return markdown_table(["truth \\ answer", *LABEL_NAMES], rows)


def decimal(value: float | None) -> str:
    """Write a share with four decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def cell(value: object) -> str:
    """Keep a value from breaking its row."""
    return " ".join(str(value).replace("|", "\\|").split())
