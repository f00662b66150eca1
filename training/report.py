"""A run's report on disk: report.json for machines, report.md for people, curves as PNG."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_service.contract.bundle import write_atomically
from training.curves import draw_calibration, draw_confusion, draw_losses, draw_precision_recall, save
from training.evaluate import Metrics, Scored
from training.tables import LEGEND, cell, class_table, confusion_table, markdown_table, summary_table, task_table

REPORT_JSON = "report.json"
REPORT_MARKDOWN = "report.md"
_SUFFIXES = (".jsonl", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has to tell. `files` is by data file, or by the name of a set; `training` holds the entries of metrics.jsonl."""

    title: str
    files: Mapping[str, tuple[Scored, Metrics]]
    temperature: float
    training: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, object] | None = None


def write_report(folder: Path, report: Report) -> None:
    """Write the images, then report.md, then report.json: where the last one stands, all of it does."""
    folder.mkdir(parents=True, exist_ok=True)
    if _has_losses(report.training):
        save(draw_losses({"": report.training}), folder / "loss.png")
    for stem, (scored, metrics) in zip(_stems(report.files), report.files.values(), strict=True):
        save(draw_precision_recall(scored), folder / f"{stem}-pr.png")
        save(draw_calibration(scored, report.temperature), folder / f"{stem}-calibration.png")
        save(draw_confusion(metrics), folder / f"{stem}-confusion.png")
    values = {
        "title": report.title,
        "temperature": report.temperature,
        "facts": dict(report.facts or {}),
        "files": {name: metrics.as_dict() for name, (_, metrics) in report.files.items()},
    }
    write_atomically(folder / REPORT_MARKDOWN, _markdown(report))
    write_atomically(folder / REPORT_JSON, json.dumps(values, ensure_ascii=False, indent=2, default=str) + "\n")


def _stems(names: Iterable[str]) -> list[str]:
    """Name each file's images: its own name without ending, and a number where two would be the same."""
    stems: list[str] = []
    for name in names:
        path = Path(name)
        stem = wanted = path.stem if path.suffix in _SUFFIXES else path.name
        number = 2
        while stem in stems:
            stem, number = f"{wanted}-{number}", number + 1
        stems.append(stem)
    return stems


def _markdown(report: Report) -> str:
    facts = {**(report.facts or {}), "temperature": f"{report.temperature:.4f}"}
    parts = [
        f"# {report.title}",
        markdown_table(["fact", "value"], [[cell(name), cell(value)] for name, value in facts.items()]),
        "## Summary",
        summary_table({name: metrics for name, (_, metrics) in report.files.items()}),
        LEGEND,
    ]
    measured = {name: metrics for name, (_, metrics) in report.files.items()}
    if any(metrics.tasks for metrics in measured.values()):
        parts += ["## Further tasks", task_table(measured)]
    if _has_losses(report.training):
        parts.append("![Loss](loss.png)")
    for stem, (name, (_, metrics)) in zip(_stems(report.files), report.files.items(), strict=True):
        parts += [f"## {name}", class_table(metrics), confusion_table(metrics)]
        images = (("Precision and recall", "pr"), ("Calibration", "calibration"), ("Confusion", "confusion"))
        parts.append("\n".join(f"![{title}](<{stem}-{kind}.png>)" for title, kind in images))
    return "\n\n".join(parts) + "\n"


def _has_losses(training: Sequence[Mapping[str, Any]]) -> bool:
    return any(entry.get(key) is not None for entry in training for key in ("loss", "eval_loss"))
