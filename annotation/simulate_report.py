"""A simulation's results on disk: curves.png, report.md for people, report.json for machines."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from annotation.simulate_config import RANDOM, SimulationConfig
from annotation.simulate_data import Data
from annotation.simulate_fine_tune import FineTuned
from annotation.simulate_statistics import Curves, Estimate, Measured
from annotation.tables import markdown_table
from semantic_service.contract.bundle import write_atomically

CURVES_FILE = "curves.png"
MARKDOWN_FILE = "report.md"
JSON_FILE = "report.json"  # written last


@dataclass(frozen=True, slots=True)
class Results:
    """What a simulation found, by strategy; `tuned` is empty where nothing was fine-tuned."""

    curves: Curves
    measured: Mapping[str, Measured]
    tuned: Mapping[str, FineTuned]


def write_report(config: SimulationConfig, data: Data, results: Results) -> str:
    """Write the three files into the output folder; give the Markdown."""
    curves = results.curves
    _draw(curves).savefig(config.out / CURVES_FILE)
    markdown = _markdown(config, data, results)
    write_atomically(config.out / MARKDOWN_FILE, markdown)
    values = {
        "config": config.model_dump(mode="json"),
        "texts": {"pool": len(data.pool), "test": len(data.test_labels)},
        "labels": curves.labels,
        "scores": {name: scores.tolist() for name, scores in curves.scores.items()},
        "measured": {name: asdict(values) for name, values in results.measured.items()},
        "fine_tuned": {name: asdict(values) for name, values in results.tuned.items()},
    }
    write_atomically(config.out / JSON_FILE, json.dumps(_without_infinity(values), ensure_ascii=False, indent=2) + "\n")
    return markdown


def _draw(curves: Curves) -> Figure:
    """Draw each strategy's mean over the seeds, and the range of the seeds."""
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for name, scores in curves.scores.items():
        (line,) = axes.plot(curves.labels, scores.mean(axis=0), label=name, linestyle="--" if name == RANDOM else "-")
        axes.fill_between(curves.labels, scores.min(axis=0), scores.max(axis=0), color=line.get_color(), alpha=0.12, linewidth=0)
    axes.axhline(curves.scores[RANDOM].mean(axis=0)[-1], color="black", linewidth=0.5)
    axes.set(xlabel="labels", ylabel="macro-F1 on the test texts", title="What labels buy (mean and range over seeds)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _markdown(config: SimulationConfig, data: Data, results: Results) -> str:
    measured = results.measured
    names = [
        "strategy",
        *(f"labels for {level:.3f}" for level in config.levels),
        "labels for random's end",
        "saving",
        "macro-F1 at the end",
        "area",
    ]
    rows = [[name, *_cells(config, values)] for name, values in measured.items()]
    said = (
        f"Pool: {len(data.pool):,} texts of {config.train}, none of which nearly says what another says. Test: {len(data.test_labels):,} "
        f"texts of {config.test}. {config.start:,} labels at the start, {config.batch:,} a round, {config.budget:,} in the end; "
        f"{config.seeds} seeds.\nIn brackets: the 95 % bootstrap interval over the seeds. Random's end: the macro-F1 of random with all "
        f"{config.budget:,} labels, {measured[RANDOM].final.value:.3f}.\nSaving: the part of these labels that is not needed for it. "
        "Area: the mean height of the curve."
    )
    parts = ["# What labels buy", said, markdown_table(names, rows), f"![Curves]({CURVES_FILE})"]
    if results.tuned:
        tuned = [[name, f"{values.labels:,}", f"{values.macro_f1:.3f}"] for name, values in results.tuned.items()]
        parts += [f"Fine-tuned in the end by {config.fine_tune}, on the first seed's labels:"]
        parts += [markdown_table(["strategy", "labels", "macro-F1"], tuned)]
    return "\n\n".join(parts) + "\n"


def _cells(config: SimulationConfig, measured: Measured) -> list[str]:
    needed = [_labels(measured.needed[level], config.budget) for level in config.levels]
    end = measured.needed_for_end
    saving, most, least = (max(0.0, 1 - labels / config.budget) for labels in (end.value, end.low, end.high))
    return [
        *needed,
        _labels(end, config.budget),
        f"{saving:.0%} ({least:.0%} to {most:.0%})",
        _score(measured.final),
        _score(measured.area),
    ]


def _labels(needed: Estimate, budget: int) -> str:
    value, low, high = (f"{labels:,.0f}" if np.isfinite(labels) else f"> {budget:,}" for labels in (needed.value, needed.low, needed.high))
    return f"{value} ({low} to {high})"


def _score(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _without_infinity(values: Any) -> Any:
    """Write what the budget did not suffice for as null: JSON has no infinity."""
    if isinstance(values, dict):
        return {str(key): _without_infinity(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_infinity(value) for value in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values
