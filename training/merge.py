"""Give what a fine-tuning left behind as one plain model, so that serving needs no PEFT."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from semantic_service.contract.labels import LABEL_NAMES
from training.errors import BaseModelError, ConfigError
from training.pretrained import load_base, load_trained

ADAPTER_FILE = "adapter_config.json"


def merge(
    base: str,
    adapter: Path,
    average_with: Sequence[Path] = (),
    logit_adjustment: Sequence[float] = (),
    outputs: Sequence[str] = LABEL_NAMES,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Give the base with adapters and head merged in, ready to export, and the tokenizer it was trained with.

    What was trained whole (`full`, `frozen`) is given as it is; what was trained on 4 bits is merged into the base in full precision.

    Each weight is the mean of those under `adapter` and under each of `average_with`; `logit_adjustment` goes into the bias of the
    head's last layer, which has an output for each name.

    Raises:
        BaseModelError: the base, or an adapter, can't be loaded.
        ConfigError: logits are to be adjusted, and the head has no bias.

    """
    merged = _merged(base, adapter, outputs)
    for count, other in enumerate(average_with, start=2):
        weights = _merged(base, other, outputs).state_dict()
        with torch.no_grad():
            for name, weight in merged.state_dict().items():
                if weight.is_floating_point():
                    weight.lerp_(weights[name], 1 / count)
    if any(logit_adjustment):
        _adjust(merged, logit_adjustment)
    return merged.eval(), load_tokenizer(base, adapter)


def load_tokenizer(base: str, adapter: Path) -> PreTrainedTokenizerBase:
    """Give the tokenizer that an adapter was trained with; an adapter's folder that holds none was trained with its base's."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(adapter if (adapter / "tokenizer_config.json").is_file() else base)
    return tokenizer


def _merged(base: str, adapter: Path, outputs: Sequence[str]) -> PreTrainedModel:
    if not (adapter / ADAPTER_FILE).exists():
        return load_trained(adapter, outputs)
    model, _ = load_base(base, outputs=outputs)
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseModelError(f"the adapter {adapter} can't be loaded onto {base} ({error})") from error
    assert isinstance(merged, PreTrainedModel)
    return merged


def _adjust(model: PreTrainedModel, logit_adjustment: Sequence[float]) -> None:
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    if last.bias is None:
        raise ConfigError("export.logit_adjustment: this model's head has no bias to put it into, use train.class_weights")
    with torch.no_grad():
        last.bias[: len(logit_adjustment)].add_(torch.tensor(logit_adjustment))  # the severity's come first
