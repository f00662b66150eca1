"""A run's report on disk: report.json for machines, report.md for people, curves as PNG."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from semantic_service.contract.bundle import write_atomically
from semantic_service.contract.labels import LABEL_NAMES, Label
from training.calibrate import ECE_BINS
from training.doctor import markdown_table
from training.evaluate import Metrics, Scored

REPORT_JSON = "report.json"
REPORT_MARKDOWN = "report.md"
DPI = 100
_SUFFIXES = (".jsonl", ".csv", ".tsv")
_LEGEND = """Flagged: the label is not compliant. False positives: the share of the compliant rows that is flagged. AUC: of flagged.
ECE: the mean gap between confidence and accuracy, before and after calibration."""


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
        _save(_draw_losses(report.training), folder / "loss.png")
    for stem, (scored, metrics) in zip(_stems(report.files), report.files.values(), strict=True):
        _save(_draw_precision_recall(scored), folder / f"{stem}-pr.png")
        _save(_draw_calibration(scored, report.temperature), folder / f"{stem}-calibration.png")
        _save(_draw_confusion(metrics), folder / f"{stem}-confusion.png")
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


def summary_table(metrics: Mapping[str, Metrics]) -> str:
    """Write one Markdown row for each file. Flagged means that the label is not compliant."""
    names = ["file", "rows", "accuracy", "macro-F1", "flagged: accuracy", "F1", "false positives", "AUC", "ECE before -> after"]
    return markdown_table(names, [_summary(name, values) for name, values in metrics.items()])


def _summary(name: str, metrics: Metrics) -> list[str]:
    flagged = metrics.flagged
    f1 = None if flagged.false_negative_rate is None else flagged.f1  # nothing to flag in the file
    rate = "–" if flagged.false_positive_rate is None else f"{flagged.false_positive_rate:.2%}"
    numbers = [_number(value) for value in (metrics.accuracy, metrics.macro_f1, flagged.accuracy, f1)]
    calibration = f"{_number(metrics.ece_before_calibration)} -> {_number(metrics.ece)}"
    return [_cell(name), f"{metrics.rows:,}", *numbers, rate, _number(flagged.auc), calibration]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _markdown(report: Report) -> str:
    facts = {**(report.facts or {}), "temperature": f"{report.temperature:.4f}"}
    parts = [
        f"# {report.title}",
        markdown_table(["fact", "value"], [[_cell(name), _cell(value)] for name, value in facts.items()]),
        "## Summary",
        summary_table({name: metrics for name, (_, metrics) in report.files.items()}),
        _LEGEND,
    ]
    if _has_losses(report.training):
        parts.append("![Loss](loss.png)")
    for stem, (name, (_, metrics)) in zip(_stems(report.files), report.files.items(), strict=True):
        parts += [f"## {name}", _class_table(metrics), _confusion_table(metrics)]
        images = (("Precision and recall", "pr"), ("Calibration", "calibration"), ("Confusion", "confusion"))
        parts.append("\n".join(f"![{title}](<{stem}-{kind}.png>)" for title, kind in images))
    return "\n\n".join(parts) + "\n"


def _class_table(metrics: Metrics) -> str:
    rows = []
    for name, values in metrics.labels.items():
        recall, f1 = (values.recall, values.f1) if values.support else (None, None)
        rows.append([name, f"{values.support:,}", *map(_number, (values.precision, recall, f1, values.auc))])
    flagged = metrics.flagged
    recall, f1 = (None, None) if flagged.false_negative_rate is None else (flagged.recall, flagged.f1)
    support = metrics.rows - metrics.labels[Label.COMPLIANT.english].support
    rows.append(["flagged", f"{support:,}", *map(_number, (flagged.precision, recall, f1, flagged.auc))])
    return markdown_table(["label", "rows", "precision", "recall", "F1", "AUC"], rows)


def _confusion_table(metrics: Metrics) -> str:
    rows = [[name, *(f"{count:,}" for count in counts)] for name, counts in zip(LABEL_NAMES, metrics.confusion, strict=True)]
    return markdown_table(["truth \\ answer", *LABEL_NAMES], rows)


def _has_losses(training: Sequence[Mapping[str, Any]]) -> bool:
    return any(entry.get(key) is not None for entry in training for key in ("loss", "eval_loss"))


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png")


def _draw_losses(training: Sequence[Mapping[str, Any]]) -> Figure:
    figure, axes = _axes(7, 4)
    for key, name, marker in (("loss", "train", ""), ("eval_loss", "validation", "o")):
        points = [(entry["current_steps"], entry[key]) for entry in training if entry.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=name, marker=marker)
    axes.set(xlabel="step", ylabel="loss (nats)", title="Loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _draw_precision_recall(scored: Scored) -> Figure:
    figure, axes = _axes(6, 5)
    curves = {"flagged": (scored.truth != Label.COMPLIANT, 1 - scored.probabilities[:, Label.COMPLIANT])}
    curves |= {name: (scored.truth == label, scored.probabilities[:, label]) for label, name in enumerate(LABEL_NAMES)}
    for name, (is_positive, probability) in curves.items():
        if is_positive.any():
            precision, recall, _ = precision_recall_curve(is_positive, probability, drop_intermediate=True)
            axes.plot(recall, precision, label=f"{name} ({is_positive.sum():,})", linewidth=2.5 if name == "flagged" else 1.2)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall (rows)", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


def _draw_calibration(scored: Scored, temperature: float) -> Figure:
    """Draw accuracy over confidence, on the bins that the calibration error is made of, and how many rows each has."""
    figure = Figure(figsize=(6, 6), dpi=DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="grey", linestyle="--", label="perfect")
    edges = np.linspace(0, 1, ECE_BINS + 1)
    for name, rows in (("before", scored.at_temperature(1 / temperature)), ("after", scored)):
        confidence, accuracy, counts = _reliability(rows)
        above.plot(confidence, accuracy, marker="o", label=name)
        below.stairs(counts, edges, label=name, fill=name == "before", alpha=0.5 if name == "before" else 1)
    above.set(ylabel="accuracy", title=f"Calibration (temperature {temperature:.3f})", xlim=(0, 1.01), ylim=(0, 1.01))
    below.set(xlabel="confidence", ylabel="rows")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    above.legend(loc="upper left")
    return figure


def _reliability(scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Give mean confidence and accuracy of each bin with rows, and the counts of all bins."""
    confidence = scored.probabilities.max(axis=1)
    is_right = scored.probabilities.argmax(axis=1) == scored.truth
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    counts = np.bincount(bins, minlength=ECE_BINS)
    filled = counts > 0
    means = [np.bincount(bins, values, ECE_BINS)[filled] / counts[filled] for values in (confidence, is_right)]
    return means[0], means[1], counts


def _draw_confusion(metrics: Metrics) -> Figure:
    figure, axes = _axes(5, 4.5)
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (truth, answer), count in np.ndenumerate(counts):
        color = "white" if shares[truth, answer] > 0.5 else "black"  # noqa: PLR2004 - half of the colour scale
        axes.text(answer, truth, f"{count:,}\n{shares[truth, answer]:.0%}", ha="center", va="center", color=color)
    ticks = range(len(LABEL_NAMES))
    axes.set(xlabel="answer", ylabel="truth", title="Confusion (share of the truth's rows)")
    axes.set_xticks(ticks, LABEL_NAMES)
    axes.set_yticks(ticks, LABEL_NAMES)
    return figure
