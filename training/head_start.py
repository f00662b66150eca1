"""Begin fine-tuning with a head that has seen the data: a linear probe of the base instead of random weights."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import Linear
from torch.nn.functional import linear

from training.loss import Loss
from training.parameters import is_head

SPREAD = 0.5  # deviation of what goes into the head's tanh: within its straight part
L2 = 3e-3  # penalty of the probe's weights
ITERATIONS = 100

Batch = dict[str, torch.Tensor]


def start_head(model: torch.nn.Module, batches: Sequence[Batch], loss: Loss) -> None:
    """Set the head's weights from some training rows: batches of what the model takes, with `labels` [rows, tasks].

    Each layer before the last is scaled to mean 0 and deviation 0.5, unit by unit (data-dependent initialisation, Krähenbühl et al. 2015):
    where a base's features hardly differ from text to text, so do the gradients that fine-tuning starts with. The last one is fitted to
    the labels by the run's own loss (LP-FT, Kumar et al. 2022). A decoder's head, which answers at every token, stays as it was drawn.
    """
    *hidden, last = (module for name, module in model.named_modules() if isinstance(module, Linear) and _trains_as_head(name))
    model.eval()
    with torch.no_grad():
        for layer in hidden:
            _spread(layer, torch.cat([outputs for _, outputs in _seen(model, layer, batches)]))
        features = [inputs for inputs, _ in _seen(model, last, batches)]
    if features[0].ndim == 2:  # noqa: PLR2004 - [rows, features], not a decoder's [rows, tokens, features]
        labels = torch.cat([batch["labels"] for batch in batches])
        _fit(last, torch.cat(features), labels.to(last.weight.device), loss)


def _trains_as_head(path: str) -> bool:
    return is_head(path) and ".original_module" not in path  # PEFT keeps the head as it was beside the one that trains


def _seen(model: torch.nn.Module, layer: Linear, batches: Iterable[Batch]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Run the model; give what went into a layer and what came out, batch by batch."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(_: torch.nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        seen.append((inputs[0].float(), outputs.float()))

    handle = layer.register_forward_hook(keep)
    for batch in batches:
        model(**{name: values.to(layer.weight.device) for name, values in batch.items() if name != "labels"})
    handle.remove()
    return seen


def _spread(layer: Linear, outputs: torch.Tensor) -> None:
    scale = SPREAD / outputs.std(dim=0).clamp_min(1e-6)
    layer.weight.mul_(scale.unsqueeze(1))
    layer.bias.sub_(outputs.mean(dim=0)).mul_(scale)


def _fit(layer: Linear, features: torch.Tensor, labels: torch.Tensor, loss: Loss) -> None:
    weight, bias = (torch.zeros_like(part, dtype=torch.float32, requires_grad=True) for part in (layer.weight, layer.bias))
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        total = loss({"logits": linear(features, weight, bias)}, labels) + L2 * weight.square().sum()
        total.backward()
        return total

    optimiser.step(step)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
