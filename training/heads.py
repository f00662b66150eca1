"""One wide head for several sources and tasks: its outputs, its targets, and a loss that skips the labels that a row lacks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from transformers import EvalPrediction, PretrainedConfig

from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.tasks import Task
from training.config import TrainSection
from training.dataset import Example
from training.loss import Loss, classification_loss, share_of_step, weighted_mean
from training.sources import fold, severity_target

ABSENT = -100  # the target of a label that a row lacks


def output_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Name the model's outputs: the severity's labels, then those of each task, or named source of severities, in turn."""
    return (*LABEL_NAMES, *(f"{task.name}/{label}" for task in tasks for label in task.labels))


def targets(example: Example, tasks: Sequence[Task], sources: Sequence[str] = ()) -> list[int]:
    """Give the index of an example's severity among its sources', then of its label in each task; ABSENT where it has none."""
    severity = ABSENT if example.label is None else severity_target(example, sources)
    return [severity, *(task.labels.index(example.tasks[task.name]) if task.name in example.tasks else ABSENT for task in tasks)]


def tasks_of(config: PretrainedConfig) -> tuple[Task, ...]:
    """Read from a model's config which tasks its outputs answer beside the severity."""
    labels: dict[str, list[str]] = {}
    for name in list((config.id2label or {}).values())[len(Label) :]:
        task, _, label = name.partition("/")
        labels.setdefault(task, []).append(label)
    return tuple(Task(task, tuple(names)) for task, names in labels.items())


def joint_loss(train: TrainSection, examples: Sequence[Example], tasks: Sequence[Task], sources: Sequence[str] = ()) -> Loss:
    """Give a loss of logits [n, outputs] and labels [n, tasks]: the mean over all labels that the rows have, of whatever task.

    So a label weighs the same whichever task it is of and whichever batch it falls into, a row without one adds nothing to that task, and
    where there is no further task the loss is the severity's alone. Class weights are the severity's.
    """
    widths = [len(Label) * (1 + len(sources)), *(len(task.labels) for task in tasks)]
    losses = [classification_loss(train, examples, len(sources)), *[_plain_loss(train)] * len(tasks)]

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        items = labels.ne(ABSENT).sum() if num_items_in_batch is None else num_items_in_batch
        parts = []
        for task_loss, logits, answers in zip(losses, outputs["logits"].split(widths, dim=1), labels.T, strict=True):
            has = answers != ABSENT
            if has.any():
                parts.append(task_loss({"logits": logits[has]}, answers[has], items))
        return torch.stack(parts).sum()

    return loss


def _plain_loss(train: TrainSection) -> Loss:
    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
        logits = outputs["logits"].float()
        return weighted_mean(logits, labels, logits.new_ones(logits.shape[1]), train) * share_of_step(labels, num_items_in_batch)

    return loss


def mean_macro_f1(tasks: Sequence[Task], sources: Sequence[str] = ()) -> Callable[[EvalPrediction], dict[str, float]]:
    """Give what measures an epoch: the mean, over the tasks that the rows have labels of, of the macro-F1."""
    ends = np.cumsum([len(Label), *(len(task.labels) for task in tasks)])[:-1]

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        logits = fold(np.asarray(prediction.predictions), len(sources))
        labels: NDArray[np.int64] = np.array(prediction.label_ids)
        labels[:, 0] = np.where(labels[:, 0] == ABSENT, ABSENT, labels[:, 0] % len(Label))
        pairs = [(answers != ABSENT, answers, part) for answers, part in zip(labels.T, np.split(logits, ends, axis=1), strict=True)]
        found = [f1_score(answers[has], part[has].argmax(axis=1), average="macro") for has, answers, part in pairs if has.any()]
        return {"macro_f1": float(np.mean(found))}

    return measure
