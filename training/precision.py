"""Choose fp32 or the best int8 by what each does to the validation set, each with a temperature of its own."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.tasks import Task
from semantic_service.engine.classifier import OnnxClassifier
from training.adjustment import fit_on
from training.calibrate import fit_temperature
from training.config import TrainConfig
from training.dataset import Example
from training.evaluate import Metrics, measure, score
from training.quantise import METHODS, quantise
from training.sources import fold_graph

MAX_F1_FALL = 0.005  # of macro-F1 on validation, for int8 to be taken
OWN_ROWS = 100  # fewer say too little of a temperature
MAX_LOSS_RISE = 0.005  # above the least loss of all int8 methods, for a faster one to be taken


@dataclass(frozen=True, slots=True)
class Candidate:
    """A graph, the temperatures that suit it (of the severity, and in each further task), and what it does to the validation set.

    `adjustment` is what its sources' logits have had added when they were folded.
    """

    folder: Path
    temperature: float
    metrics: Metrics
    tasks: tuple[Task, ...] = ()
    adjustment: tuple[float, ...] = ()

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return self.folder.name[:4]


def choose(exported: Path, config: TrainConfig, validation: Sequence[Example]) -> Candidate:
    """Measure fp32 and every int8 method; take the fastest int8 about as good as the best, if the config or its macro-F1 lets it."""
    plain = _measured(_copied(exported) if config.sources else exported, config, validation)
    if config.export.precision == "fp32":
        return plain
    quantised = []
    for method in METHODS:
        folder = exported.with_name(method.name)
        quantise(exported, folder, method)
        quantised.append(_measured(folder, config, validation))
    for candidate in (plain, *quantised):
        metrics = candidate.metrics
        print(
            f"{candidate.folder.name:18} loss {metrics.loss:.4f}  macro-F1 {metrics.macro_f1:.4f}  temperature {candidate.temperature:.3f}",
            flush=True,
        )
    return fastest(plain, quantised, is_asked_for=config.export.precision == "int8")


def fastest(plain: Candidate, quantised: Sequence[Candidate], *, is_asked_for: bool) -> Candidate:
    """Give the first of the int8 candidates, which come fastest first, that will do, or else `plain`; `is_asked_for` lets macro-F1 fall."""
    good = [each for each in quantised if is_asked_for or plain.metrics.macro_f1 - each.metrics.macro_f1 <= MAX_F1_FALL]
    least = min((each.metrics.loss for each in good), default=0.0)
    return next((each for each in good if each.metrics.loss <= least + MAX_LOSS_RISE), plain)


def _copied(exported: Path) -> Path:
    """Copy a graph to where it is folded."""
    return Path(shutil.copytree(exported, exported.with_name("fp32-folded"), dirs_exist_ok=True))


def _measured(folder: Path, config: TrainConfig, validation: Sequence[Example]) -> Candidate:
    adjustment = () if config.fitted_beside is None else fit_on(folder, config, validation)
    fold_graph(folder, config.outputs, config.model.max_tokens, [example.text for example in validation], adjustment)
    classifier = OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, config.model.max_tokens, tasks=config.further_tasks)
    raw = score(classifier, validation, folder.name)
    own = calibrating(validation)
    temperature = fit_temperature(raw.log_probabilities[own], raw.truth[own])
    tasks = tuple(replace(task, temperature=fit_temperature(rows.log_probabilities, rows.truth)) for task, rows in raw.tasks.items())
    return Candidate(folder, temperature, measure(raw.at_temperature(temperature), temperature), tasks, adjustment)


def calibrating(validation: Sequence[Example]) -> NDArray[np.bool_]:
    """Say which rows that have a severity the temperature is fitted on: those of no named source, if there are enough, else all.

    A source's held-out rows are labelled like its training rows: calibrated on them, the model is too sure of other posts.
    """
    own = np.array([not example.source for example in validation if example.label is not None])
    return own if own.sum() >= OWN_ROWS else np.ones_like(own)
