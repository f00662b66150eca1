"""The loss of a batch: cross-entropy with class weights and label smoothing, or focal."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from semantic_service.contract.labels import Label
from training.config import TrainSection
from training.dataset import Example, class_weights

Loss = Callable[..., torch.Tensor]  # (outputs, labels, num_items_in_batch) -> scalar, as the Trainer calls it


def classification_loss(train: TrainSection, examples: Sequence[Example], sources: int = 0) -> Loss:
    """Make the loss of a run, with the class weights that its training examples give.

    With `sources` named beside the one without a name, logits are [rows, 3 * (1 + sources)] and labels say pairs of source and label: half
    of the loss is for the pair, half for the label, whose probability is the sum over the sources.
    """
    named = train.class_weights
    weights = class_weights(examples) if named == "balanced" else (1.0,) * len(Label) if named == "none" else named

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        each = torch.tensor(weights, device=logits.device)
        mean = weighted_mean(logits, labels, each.repeat(1 + sources), train)
        if sources:
            together = logits.log_softmax(dim=1).unflatten(1, (1 + sources, len(Label))).logsumexp(dim=1)
            mean = (mean + weighted_mean(together, labels % len(Label), each, train)) / 2
        return mean * share_of_step(labels, num_items_in_batch)

    return loss


def weighted_mean(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, train: TrainSection) -> torch.Tensor:
    """Average the rows' losses by their class weights; `focal_gamma` turns away from rows that are easy already (Lin et al. 2017).

    Args:
        logits: [rows, classes], fp32.
        labels: [rows], int64.
        weights: [classes].
        train: says the label smoothing and the gamma, 0 for plain cross-entropy.

    """
    losses = cross_entropy(logits, labels, weight=weights, label_smoothing=train.label_smoothing, reduction="none")
    if train.focal_gamma:
        right = logits.softmax(dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
        losses = losses * (1 - right).clamp_min(1e-6) ** train.focal_gamma  # the slope at 0 may be infinite
    return losses.sum() / weights[labels].sum()


def share_of_step(labels: torch.Tensor, num_items_in_batch: torch.Tensor | None) -> torch.Tensor | float:
    """Give a batch's part of its optimiser step, by labels: a step may be several batches, here and on other processes."""
    return 1.0 if num_items_in_batch is None else labels.ne(-100).sum() / num_items_in_batch
