"""Load what a fine-tuning starts from or leaves behind: a transformer with a head for the labels, and its tokenizer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from semantic_service.contract.bundle import CONFIG_FILE
from semantic_service.contract.labels import LABEL_NAMES
from training.errors import BaseModelError


def load_base(
    base: str, four_bits: BitsAndBytesConfig | None = None, outputs: Sequence[str] = LABEL_NAMES, dropout: float | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an encoder or a decoder with a new head for the named outputs, and its tokenizer; weights are fp32 where not in four bits.

    `dropout` replaces every rate that the base was pretrained with.

    Raises:
        BaseModelError: no such local folder, and the hub does not answer or has no such model; or its tokenizer is not a fast one.

    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        rates = {} if dropout is None else dict.fromkeys(_dropout_rates(base), dropout)
        model, _ = _load(base, outputs, quantization_config=four_bits, **rates)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # not there; not a model; another head; cut short
        raise BaseModelError(f"model.base {base!r} can't be loaded, give a local folder or a Hugging Face name ({error})") from error
    if not tokenizer.is_fast:
        raise BaseModelError(f"model.base {base!r} has no fast tokenizer (tokenizer.json), and serving needs one: choose another base")
    _pad_right(model, tokenizer)
    _begin_every_text(tokenizer)
    return model, tokenizer


def load_trained(folder: Path, outputs: Sequence[str] = LABEL_NAMES) -> PreTrainedModel:
    """Load a whole model that a fine-tuning saved, with its head.

    Raises:
        BaseModelError: it is not there, or a weight is missing.

    """
    try:
        model, missing = _load(str(folder), outputs)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(f"the fine-tuned model {folder} can't be loaded ({error})") from error
    if missing:  # transformers would draw them anew
        raise BaseModelError(f"the fine-tuned model {folder} lacks {', '.join(sorted(missing))}: fine-tune again")
    return model


def _load(source: str, outputs: Sequence[str], **more: Any) -> tuple[PreTrainedModel, set[str]]:
    model, info = AutoModelForSequenceClassification.from_pretrained(
        source,
        num_labels=len(outputs),
        id2label=dict(enumerate(outputs)),
        label2id={name: index for index, name in enumerate(outputs)},
        dtype=torch.float32,
        output_loading_info=True,
        **more,
    )
    model.config.use_cache = False  # a decoder's, for generating
    return model, set(info["missing_keys"])


def _dropout_rates(base: str) -> list[str]:
    """Name a base's dropout rates, as its config does: hidden_dropout_prob, attention_dropout, ..."""
    values = AutoConfig.from_pretrained(base).to_dict().items()
    return [name for name, value in values if "dropout" in name and isinstance(value, float)]


def saved_outputs(folder: Path) -> tuple[str, ...]:
    """Name the outputs of a model or an adapter that was saved here: further sources and tasks may follow the severity's."""
    config = folder / CONFIG_FILE
    names = tuple(json.loads(config.read_text(encoding="utf-8")).get("id2label", {}).values()) if config.is_file() else ()
    return names if names[: len(LABEL_NAMES)] == LABEL_NAMES else LABEL_NAMES


def _pad_right(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Pad behind the text, where neither positions nor a decoder's last token are moved by it; decoders often come without a pad token."""
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def _begin_every_text(tokenizer: Any) -> None:
    """Let a text begin with the end of another, as in pretraining, where a tokenizer adds nothing: an empty text would have no token."""
    if tokenizer("")["input_ids"] or tokenizer.eos_token is None:
        return
    start = processors.TemplateProcessing(
        single=f"{tokenizer.eos_token} $A", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    tokenizer.backend_tokenizer.post_processor = start


def refuse_too_long(model: PreTrainedModel, max_tokens: int, base: str) -> None:
    """Check that a window fits.

    Raises:
        BaseModelError: the base has fewer positions than `max_tokens`.

    """
    positions = getattr(model.config, "max_position_embeddings", None) or max_tokens
    table = next((module for path, module in model.named_modules() if path.endswith("position_embeddings")), None)
    if isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:  # RoBERTa counts from behind its pad token's id
        positions -= table.padding_idx + 1
    if max_tokens > positions:
        raise BaseModelError(f"model.max_tokens is {max_tokens}, but {base} has {positions} positions: lower it, or choose another base")
