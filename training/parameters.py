"""The parameters of a model by part (encoder, adapters, head): how many train, and how fast."""

from collections.abc import Mapping
from typing import Any

import torch

from training.config import TrainSection
from training.tables import markdown_table

# The head by the names that transformers gives it: BERT and RoBERTa, DistilBERT, and decoders such as Qwen.
HEAD_MODULES = ("pooler", "classifier", "pre_classifier", "score")


def is_head(path: str) -> bool:
    """Whether a module's or a parameter's dotted path lies in the head."""
    return not set(path.split(".")).isdisjoint(HEAD_MODULES)


def parameters_by_part(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Count the parameters of encoder, adapters and head: those that train, and all."""
    counts = {"encoder": (0, 0), "adapters": (0, 0), "head": (0, 0)}
    for name, parameter in model.named_parameters():
        if ".original_module." in name:  # the head as it was before it was wrapped
            continue
        trainable, total = counts[_part(name)]
        counts[_part(name)] = trainable + parameter.numel() * parameter.requires_grad, total + _count(parameter)
    return counts


def parameter_table(parts: Mapping[str, tuple[int, int]]) -> str:
    """Write counts by part as a Markdown table: trainable, total, share."""
    trainable, total = (sum(column) for column in zip(*parts.values(), strict=True))
    rows = {**parts, "all": (trainable, total)}.items()
    return markdown_table(
        ["parameters", "trainable", "total", "share"],
        [[part, f"{some:,}", f"{of:,}", f"{some / max(of, 1):.2%}"] for part, (some, of) in rows],
    )


def count_weights(model: torch.nn.Module) -> int:
    """Count a model's weights, as many as they are in full precision."""
    return sum(map(_count, model.parameters()))


def _count(parameter: torch.nn.Parameter) -> int:
    quantised = getattr(parameter, "quant_state", None)  # bitsandbytes stores two weights a byte
    return parameter.numel() if quantised is None else quantised.shape.numel()


def parameter_groups(model: torch.nn.Module, train: TrainSection) -> list[dict[str, Any]]:
    """Group what trains for the optimiser: each part at its own rate, biases and norms without weight decay."""
    rates = {"encoder": train.learning_rate.base, "adapters": train.learning_rate.lora, "head": train.learning_rate.classifier}
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((_part(name), parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rates[part], "weight_decay": train.weight_decay if decays else 0.0}
        for (part, decays), parameters in groups.items()
    ]


def _part(name: str) -> str:
    if "lora_" in name:
        return "adapters"
    return "head" if is_head(name) else "encoder"
