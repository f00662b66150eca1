"""The parameters of a model by part (encoder, adapters, head): how many train, and how fast."""

from typing import Any

import torch

from training.config import TrainSection

# The head by the names that transformers gives it: BERT and RoBERTa, DistilBERT, and decoders such as Qwen.
HEAD_MODULES = ("pooler", "classifier", "pre_classifier", "score")


def is_head(path: str) -> bool:
    """Whether a module's or a parameter's dotted path lies in the head."""
    return not set(path.split(".")).isdisjoint(HEAD_MODULES)


def parameter_table(model: torch.nn.Module) -> str:
    """Count parameters by part as a Markdown table: trainable, total, share."""
    rows: dict[str, list[int]] = {"encoder": [0, 0], "adapters": [0, 0], "head": [0, 0]}
    for name, parameter in model.named_parameters():
        if ".original_module." in name:
            continue
        row = rows[_part(name)]
        row[0] += parameter.numel() if parameter.requires_grad else 0
        row[1] += _count(parameter)
    rows["all"] = [sum(row[column] for row in rows.values()) for column in (0, 1)]
    lines = ["| part | trainable | total | share |", "|---|---:|---:|---:|"]
    lines += [f"| {part} | {trains:,} | {total:,} | {trains / max(total, 1):.2%} |" for part, (trains, total) in rows.items()]
    return "\n".join(lines)


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
