"""Measure an exported model with the serving engine, on the rows of one file at a time."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support, roc_auc_score
from tqdm import tqdm

from semantic_service.contract.labels import Label
from semantic_service.contract.tasks import Task
from semantic_service.engine.classifier import OnnxClassifier, Probabilities, Score
from training.bootstrap import RESAMPLES, SEED, middle, resample
from training.calibrate import expected_calibration_error, negative_log_likelihood
from training.dataset import Example


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One label against the others."""

    precision: float
    recall: float
    f1: float
    support: int
    auc: float | None  # None where the file has no row, or only rows, of the label


@dataclass(frozen=True, slots=True)
class FlaggedMetrics:
    """Compliant against the rest: a post is flagged when its label is not compliant.

    `auc` and `ece` use p(suspicious) + p(violation); `ece` is of the two-way confidence in the two-way answer.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_f1: float
    auc: float | None
    ece: float
    false_positive_rate: float | None  # of the compliant rows
    false_negative_rate: float | None  # of the others


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """What a model does in a further task, on the rows that have a label of it. `f1` is by label, of those with a row or an answer."""

    rows: int
    accuracy: float
    macro_f1: float
    ece: float
    f1: dict[str, float]


@dataclass(frozen=True, slots=True)
class Intervals:
    """The 95 % bootstrap intervals [low, high] of the shares that models are chosen by."""

    accuracy: list[float]
    macro_f1: list[float]
    flagged_accuracy: list[float]
    false_positive_rate: list[float] | None  # None where no row is compliant


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a model does on one file. Labels with neither a row nor a prediction stay out of `macro_f1`."""

    rows: int
    accuracy: float
    macro_f1: float
    loss: float  # mean negative log-likelihood, nats
    ece: float
    ece_before_calibration: float
    uncertain_share: float  # confidence <= 0.6
    labels: dict[str, ClassMetrics]
    flagged: FlaggedMetrics
    confusion: list[list[int]]  # [truth][answer], in label order
    intervals: Intervals
    tasks: dict[str, TaskMetrics] = field(default_factory=dict)  # those that the file has labels of

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scored:
    """A file's rows as the engine scores them: `probabilities` [n, 3] calibrated, `truth` [n] label ids.

    `tasks` has the same of each further task that the file has labels of. Rows without a label are left out.
    """

    probabilities: NDArray[np.float64]
    truth: NDArray[np.int64]
    tasks: "Mapping[Task, Scored]" = field(default_factory=dict)

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """The probabilities' logarithms, which are logits up to a constant a row."""
        logarithms: NDArray[np.float64] = np.log(np.maximum(self.probabilities, 1e-12))
        return logarithms

    def at_temperature(self, temperature: float) -> "Scored":
        """Soften (above 1) or sharpen (below 1) the probabilities."""
        probabilities: NDArray[np.float64] = softmax(self.log_probabilities / temperature, axis=1)
        return replace(self, probabilities=probabilities)


def score(classifier: OnnxClassifier, examples: Sequence[Example], title: str) -> Scored:
    """Score examples on every core, with a progress bar on a terminal."""
    texts = [example.text for example in examples]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scores = list(tqdm(pool.map(classifier.score, texts), total=len(texts), desc=title, unit="text", disable=None))
    pairs = [
        (score.probabilities, int(example.label)) for score, example in zip(scores, examples, strict=True) if example.label is not None
    ]
    return replace(_scored(pairs, len(Label)), tasks=_scored_tasks(classifier.tasks, scores, examples))


def _scored_tasks(tasks: Sequence[Task], scores: Sequence[Score], examples: Sequence[Example]) -> dict[Task, Scored]:
    found = {}
    for index, task in enumerate(tasks):
        rows = [(score.tasks[index], example.tasks.get(task.name)) for score, example in zip(scores, examples, strict=True)]
        if pairs := [(probabilities, task.labels.index(label)) for probabilities, label in rows if label is not None]:
            found[task] = _scored(pairs, len(task.labels))
    return found


def _scored(pairs: Sequence[tuple[Probabilities, int]], labels: int) -> Scored:
    probabilities = np.array([row for row, _ in pairs], dtype=np.float64).reshape(-1, labels)
    return Scored(probabilities, np.array([truth for _, truth in pairs], dtype=np.int64))


def measure(scored: Scored, temperature: float, uncertain_max: float = 0.6) -> Metrics:
    """Measure scored rows; `temperature` is the one that calibrated them, to say what calibration did."""
    probabilities, truth = scored.probabilities, scored.truth
    answer = probabilities.argmax(axis=1)
    before = scored.at_temperature(1 / temperature).probabilities
    present = sorted({*truth.tolist(), *answer.tolist()})
    confusion = confusion_matrix(truth, answer, labels=list(Label))
    return Metrics(
        rows=len(truth),
        accuracy=float(accuracy_score(truth, answer)),
        macro_f1=float(f1_score(truth, answer, average="macro", labels=present, zero_division=0)),
        loss=negative_log_likelihood(scored.log_probabilities, truth),
        ece=expected_calibration_error(probabilities.max(axis=1), answer == truth),
        ece_before_calibration=expected_calibration_error(before.max(axis=1), answer == truth),
        uncertain_share=float((probabilities.max(axis=1) <= uncertain_max).mean()),
        labels=_class_metrics(probabilities, truth, answer),
        flagged=_flagged_metrics(probabilities, truth, answer),
        confusion=confusion.tolist(),
        intervals=_intervals(confusion),
        tasks={task.name: _task_metrics(task, rows) for task, rows in scored.tasks.items()},
    )


def _task_metrics(task: Task, scored: Scored) -> TaskMetrics:
    truth, answer = scored.truth, scored.probabilities.argmax(axis=1)
    present = sorted({*truth.tolist(), *answer.tolist()})
    f1 = f1_score(truth, answer, average=None, labels=present, zero_division=0)
    return TaskMetrics(
        rows=len(truth),
        accuracy=float(accuracy_score(truth, answer)),
        macro_f1=float(f1.mean()),
        ece=expected_calibration_error(scored.probabilities.max(axis=1), answer == truth),
        f1={task.labels[index]: float(value) for index, value in zip(present, f1, strict=True)},
    )


def _class_metrics(probabilities: NDArray[np.float64], truth: NDArray[np.int64], answer: NDArray[np.int64]) -> dict[str, ClassMetrics]:
    precision, recall, f1, support = precision_recall_fscore_support(truth, answer, labels=list(Label), zero_division=0)
    return {
        label.english: ClassMetrics(
            precision=float(precision[label]),
            recall=float(recall[label]),
            f1=float(f1[label]),
            support=int(support[label]),
            auc=_auc(truth == label, probabilities[:, label]),
        )
        for label in Label
    }


def _flagged_metrics(probabilities: NDArray[np.float64], truth: NDArray[np.int64], answer: NDArray[np.int64]) -> FlaggedMetrics:
    truly, flagged = truth != Label.COMPLIANT, answer != Label.COMPLIANT
    probability = 1 - probabilities[:, Label.COMPLIANT]
    precision, recall, f1, _ = precision_recall_fscore_support(truly, flagged, average="binary", zero_division=0)
    return FlaggedMetrics(
        accuracy=float(accuracy_score(truly, flagged)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        macro_f1=float(f1_score(truly, flagged, average="macro", zero_division=0)),
        auc=_auc(truly, probability),
        ece=expected_calibration_error(np.maximum(probability, 1 - probability), (probability > 0.5) == truly),  # noqa: PLR2004
        false_positive_rate=float(flagged[~truly].mean()) if (~truly).any() else None,
        false_negative_rate=float((~flagged[truly]).mean()) if truly.any() else None,
    )


def _intervals(confusion: NDArray[np.int64]) -> Intervals:
    """Resample the rows by the one thing that counts of each: its truth and its answer."""
    labels = len(Label)
    drawn = resample(confusion.ravel(), RESAMPLES, np.random.default_rng(SEED)).reshape(-1, labels, labels)
    rows = confusion.sum()
    compliant = drawn[:, Label.COMPLIANT].sum(axis=1)
    alarms = compliant - drawn[:, Label.COMPLIANT, Label.COMPLIANT]
    missed = drawn[:, :, Label.COMPLIANT].sum(axis=1) - drawn[:, Label.COMPLIANT, Label.COMPLIANT]
    right = np.trace(drawn, axis1=1, axis2=2)
    return Intervals(
        accuracy=middle(right / rows),
        macro_f1=middle(_macro_f1(drawn)),
        flagged_accuracy=middle(1 - (alarms + missed) / rows),
        false_positive_rate=middle(_shares(alarms, compliant)) if confusion[Label.COMPLIANT].any() else None,
    )


def _macro_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the macro-F1 [n] of confusion matrices [n, truth, answer], over the labels that each of them has."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    f1: NDArray[np.float64] = np.nanmean(_shares(2 * right, confusion.sum(axis=1) + confusion.sum(axis=2)), axis=1)
    return f1


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; where there is nothing to divide by, the share is NaN."""
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return shares


def _auc(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> float | None:
    return float(roc_auc_score(truth, probability)) if 0 < truth.sum() < len(truth) else None
