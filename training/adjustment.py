"""Fit how far each source is believed: what is added to its logits before they are folded."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from tqdm import tqdm

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OnnxClassifier
from training.config import TrainConfig
from training.dataset import Example
from training.sources import fold

PENALTY = 1e-4  # of the numbers' squares, so that few rows don't move them far
ALARMS = 0.5  # of the false alarms before: a forum has more ordinary posts than a file for validation
STEPS = 300


def fit_on(folder: Path, config: TrainConfig, validation: Sequence[Example]) -> tuple[float, ...]:
    """Fit what suits the graph in a folder, whose logits are of each source in turn, on validation. Of a text its first window counts."""
    classifier = OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, config.model.max_tokens, tasks=config.outputs)
    rows = [(example, example.label) for example in validation if example.label is not None]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scored = pool.map(lambda row: classifier.logits(classifier.windows(row[0].text)[:1])[0], rows)
        logits = np.stack(list(tqdm(scored, total=len(rows), desc="sources", unit="text", disable=None)))
    names = ("", *config.sources)
    source = np.array([names.index(example.source) for example, _ in rows])
    given = {names.index(name): number for name, number in (config.fitted_beside or {}).items()}
    own_logits = logits[:, : len(Label) * len(names)].astype(np.float64)
    adjustment = fit_adjustment(own_logits, np.array([label for _, label in rows]), source, given)
    print(f"{folder.name:18} added to the sources' logits: {described(adjustment.tolist(), config.sources)}", flush=True)
    return tuple(adjustment.tolist())


def described(adjustment: Sequence[float], sources: Sequence[str]) -> str:
    """Say what is added to the logits of each source."""
    parts = zip(("no name", *sources), np.split(np.asarray(adjustment), 1 + len(sources)), strict=True)
    return "; ".join(f"{name} " + ", ".join(f"{number:.2f}" for number in part) for name, part in parts)


def fit_adjustment(
    logits: NDArray[np.float64], truth: NDArray[np.integer], source: NDArray[np.integer], given: Mapping[int, float]
) -> NDArray[np.float64]:
    """Find what to add to logits [n, 3 * sources] for the largest mean of the sources' macro-F1; `truth` and `source` [n] are indices.

    The macro-F1 is the expected one, of the probabilities (Jansche 2005): that of the answers has no slope, and follows single rows.
    Where a source's rows lack a label, answers with it count as the next severer one. Compliant rows of the first source, which has no
    name, may give half as many false alarms as before, expected likewise.

    Each named source has one number, and each whose rows have all labels one more for suspicious and for violation: with a number
    for every logit, sources that have no rows here are judged worse. Sources, by index, that are `given` a number keep that.
    """
    groups = [(source == index, _merging(truth[source == index])) for index in sorted(set(source.tolist()))]
    complete = [index for index in set(source.tolist()) - {*given} if {*truth[source == index].tolist()} == {*Label}]
    numbers = np.delete(_numbers(logits.shape[1], complete), [index - 1 for index in given], axis=1)
    kept = np.zeros((logits.shape[1] // len(Label), len(Label)))
    kept[[*given]] = np.array([*given.values()])[:, None]
    ordinary = logits[(source == 0) & (truth == Label.COMPLIANT)]

    def adjustment(added: NDArray[np.float64]) -> NDArray[np.float64]:
        whole: NDArray[np.float64] = kept.ravel() + numbers @ added
        return whole

    def cost(added: NDArray[np.float64]) -> float:
        chances = _probabilities(logits + adjustment(added))
        return PENALTY * float(added @ added) - float(np.mean([_macro_f1(chances[own] @ merging, truth[own]) for own, merging in groups]))

    most = ALARMS * _alarms(ordinary)

    def margin(added: NDArray[np.float64]) -> float:
        return 100 * (most - _alarms(ordinary + adjustment(added)))  # per cent: as steep as the cost

    start, fewer = np.zeros(numbers.shape[1]), {"type": "ineq", "fun": margin}
    found = minimize(cost, start, method="SLSQP", constraints=fewer, options={"maxiter": STEPS})
    if not found.success:
        print(f"sources: the fit stopped early ({found.message}); the numbers are the best so far", flush=True)
    return adjustment(found.x)


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    chances: NDArray[np.float64] = softmax(fold(logits, logits.shape[1] // len(Label) - 1), axis=1)
    return chances


def _alarms(ordinary: NDArray[np.float64]) -> float:
    """Give the expected share of false alarms among harmless posts' logits."""
    return float(1 - _probabilities(ordinary)[:, Label.COMPLIANT].mean()) if len(ordinary) else 0.0


def _numbers(outputs: int, complete: Sequence[int]) -> NDArray[np.float64]:
    """Give the matrix [outputs, numbers] that says which logits a number is added to; `complete` sources have all labels."""
    whole = np.kron(np.eye(outputs // len(Label)), np.ones((len(Label), 1)))[:, 1:]
    single = [len(Label) * index + label for index in complete for label in (Label.SUSPICIOUS, Label.VIOLATION)]
    return np.hstack([whole, np.eye(outputs)[:, single]])


def _merging(truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Give the matrix [3, 3] that moves the probability of labels that never occur to the next severer one that does."""
    present = sorted({*truth.tolist()})
    matrix = np.zeros((len(Label), len(Label)))
    for label in Label:
        matrix[label, next((other for other in present if other >= label), int(label))] = 1
    return matrix


def _macro_f1(chances: NDArray[np.float64], truth: NDArray[np.integer]) -> float:
    """Give the expected macro-F1 over the labels that occur; `chances` [n, 3]."""
    is_label = np.eye(len(Label))[truth]
    f1 = 2 * (chances * is_label).sum(axis=0) / np.maximum((chances + is_label).sum(axis=0), 1e-12)
    return float(f1[is_label.any(axis=0)].mean())
