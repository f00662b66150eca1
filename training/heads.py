"""One wide head for several tasks: its outputs, its targets, and a loss that skips the labels that a row lacks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.tasks import Task
from training.dataset import Example

ABSENT = -100  # the target of a label that a row lacks
Loss = Callable[..., torch.Tensor]  # of outputs with logits [n, k], and labels [n]


def output_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Name the model's outputs: the severity's labels, then those of each task in turn."""
    return (*LABEL_NAMES, *(f"{task.name}/{label}" for task in tasks for label in task.labels))


def targets(example: Example, tasks: Sequence[Task]) -> list[int]:
    """Give the index of an example's severity, then of its label in each task; ABSENT where it has none."""
    severity = ABSENT if example.label is None else int(example.label)
    return [severity, *(task.labels.index(example.tasks[task.name]) if task.name in example.tasks else ABSENT for task in tasks)]


def joint_loss(severity_loss: Loss, tasks: Sequence[Task], label_smoothing: float) -> Loss:
    """Give a loss of logits [n, outputs] and labels [n, tasks] that adds up the tasks' mean losses, each over the rows that have its label.

    Each mean counts by its share of the batch's rows. So a label weighs the same whichever batch it falls into, a row without one adds
    nothing to that task, and where every row has its severity and there is no other task the loss is `severity_loss` itself.
    """
    widths = [len(Label), *(len(task.labels) for task in tasks)]

    def plain(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(outputs["logits"].float(), labels, label_smoothing=label_smoothing)

    losses = [severity_loss, *[plain] * len(tasks)]

    def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, **_: Any) -> torch.Tensor:
        parts = []
        for task_loss, logits, answers in zip(losses, outputs["logits"].split(widths, dim=1), labels.T, strict=True):
            has = answers != ABSENT
            if has.any():
                parts.append(task_loss({"logits": logits[has]}, answers[has]) * (has.sum() / len(has)))
        return torch.stack(parts).sum()

    return loss


def mean_macro_f1(tasks: Sequence[Task]) -> Callable[[EvalPrediction], dict[str, float]]:
    """Give what measures an epoch: the mean, over the tasks that the rows have labels of, of the macro-F1."""
    ends = np.cumsum([len(Label), *(len(task.labels) for task in tasks)])[:-1]

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        logits: NDArray[np.float32] = np.asarray(prediction.predictions)
        labels: NDArray[np.int64] = np.asarray(prediction.label_ids)
        pairs = [(answers != ABSENT, answers, part) for answers, part in zip(labels.T, np.split(logits, ends, axis=1), strict=True)]
        found = [f1_score(answers[has], part[has].argmax(axis=1), average="macro") for has, answers, part in pairs if has.any()]
        return {"macro_f1": float(np.mean(found))}

    return measure
