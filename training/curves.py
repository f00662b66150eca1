"""Measurements as PNG curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from semantic_service.contract.labels import LABEL_NAMES, Label
from training.calibrate import ECE_BINS
from training.evaluate import Metrics, Scored

DPI = 100


def draw_losses(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw training and validation loss over the steps of each run; `runs` holds the entries of metrics.jsonl by the run's name."""
    figure, axes = _axes(7, 4)
    for run, entries in runs.items():
        for key, name, marker in (("loss", "train", ""), ("eval_loss", "validation", "o")):
            points = [(entry["current_steps"], entry[key]) for entry in entries if entry.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=f"{run} {name}".strip(), marker=marker)
    axes.set(xlabel="step", ylabel="loss (nats)", title="Loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_precision_recall(scored: Scored) -> Figure:
    """Draw precision over recall of flagged and of each label that has rows."""
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


def draw_calibration(scored: Scored, temperature: float) -> Figure:
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


def draw_confusion(metrics: Metrics) -> Figure:
    """Draw the confusion matrix."""
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


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def save(figure: Figure, target: Path | IO[bytes]) -> None:
    """Write a figure as PNG."""
    figure.savefig(target, format="png")
