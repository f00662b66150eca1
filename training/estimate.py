"""What a fine-tuning will need, reckoned from the base's config alone: parameters, memory, arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from training.config import TrainConfig
from training.errors import BaseModelError, ConfigError
from training.heads import output_names
from training.methods import choose_what_trains
from training.parameters import parameters_by_part
from training.pretrained import refuse_too_long

LARGEST_BATCH = 64  # a larger one trains short texts no faster, and wants other learning rates than the configs'
SAFE_SHARE = 0.6  # of the free memory: peaks of 1.3 to 1.7 times the estimate were measured, as allocators keep what was freed
_FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes and floating-point operations of a fine-tuning.

    Weights and gradients are fp32, AdamW keeps two more numbers for each weight that trains. For the backward pass each linear
    layer, an adapter's too, leaves its input and its output, and each attention its scores, their softmax and a dropout mask for
    each two tokens. For a Transformer this adds up to the count of Korthikanti et al. 2022 (arXiv:2205.05198, section 4) with 4
    bytes a number; mixed precision, fused attention, gradient checkpointing and weights in 4 bits need less.

    A token costs 2 operations a weight forwards, 2 back through it, and 2 for the weight's own gradient if it trains
    (Kaplan et al. 2020, arXiv:2001.08361, section 2.1): 6, or 4 where the weight is frozen. Embeddings are looked up and cost none.
    """

    parameters: Mapping[str, tuple[int, int]]  # by part: those that train, all
    activations_per_token: int  # bytes
    activations_per_pair: int  # bytes, for each two tokens of a row
    train_flops_per_token: int
    score_flops_per_token: int
    width: int  # of the hidden states

    @classmethod
    def of(cls, model: torch.nn.Module, width: int, heads: int) -> Self:
        """Reckon a model's needs from its shapes; `heads` are the attention heads of all its layers."""
        linear = [
            module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and ".original_module" not in name
        ]
        products = sum(module.weight.numel() for module in linear)
        trained = sum(module.weight.numel() for module in linear if module.weight.requires_grad)
        return cls(
            parameters=parameters_by_part(model),
            activations_per_token=_FLOAT * sum(module.in_features + module.out_features for module in linear),
            activations_per_pair=3 * _FLOAT * heads,
            train_flops_per_token=4 * products + 2 * trained,
            score_flops_per_token=2 * products,
            width=width,
        )

    @property
    def trainable(self) -> int:
        """Parameters that train."""
        return sum(trainable for trainable, _ in self.parameters.values())

    @property
    def total(self) -> int:
        """Parameters in all."""
        return sum(total for _, total in self.parameters.values())

    @property
    def fixed(self) -> dict[str, int]:
        """Bytes that do not follow from the batch."""
        return {"weights": _FLOAT * self.total, "gradients": _FLOAT * self.trainable, "optimiser": 2 * _FLOAT * self.trainable}

    def activations(self, batch_size: int, tokens: int) -> int:
        """Bytes that a batch of rows of `tokens` tokens leaves for the backward pass."""
        return batch_size * tokens * (self.activations_per_token + self.activations_per_pair * tokens)

    def memory(self, batch_size: int, tokens: int) -> int:
        """Bytes in all, with a batch of rows of `tokens` tokens."""
        return sum(self.fixed.values()) + self.activations(batch_size, tokens)

    def largest_batch(self, tokens: int, free: int) -> int:
        """Choose the largest power of two, up to `LARGEST_BATCH`, whose batch of the longest rows fits.

        A power of two, so that the choice does not follow every change of the free memory.

        Raises:
            ConfigError: not even one row fits.

        """
        sizes = [1 << power for power in range(LARGEST_BATCH.bit_length())]
        fitting = [size for size in sizes if self.memory(size, tokens) <= SAFE_SHARE * free]
        if not fitting:
            needed = self.memory(1, tokens) / SAFE_SHARE
            raise ConfigError(
                f"one row of {tokens} tokens wants about {gigabytes(needed)} of memory, and {gigabytes(free)} are free: "
                "lower model.max_tokens, choose a smaller model.base, or free memory"
            )
        return fitting[-1]


def gigabytes(count: float) -> str:
    """Write bytes for a person."""
    return f"{count / 1e9:.2f} GB"


def reckon(config: TrainConfig) -> Needs:
    """Build the model that will train on torch's meta device, where it has shapes and no weights, and reckon its needs.

    Raises:
        BaseModelError: the base, or the adapter to go on from, isn't there, or is too short.
        ConfigError: the base has no such target modules.

    """
    base = config.model.base
    try:
        shape = AutoConfig.from_pretrained(base, num_labels=len(output_names(config.outputs)))
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(shape)
    except (OSError, ValueError) as error:
        raise _not_there(base, error) from error
    refuse_too_long(model, config.model.max_tokens, base)
    heads, width = shape.num_hidden_layers * shape.num_attention_heads, shape.hidden_size
    with torch.device("meta"):
        adapted = choose_what_trains(model, config) if config.model.adapter is None else _adapted_as_before(model, config)
    return Needs.of(adapted, width, heads)


def _adapted_as_before(model: PreTrainedModel, config: TrainConfig) -> PeftModel:
    try:
        section = LoraConfig.from_pretrained(str(config.model.adapter))
        section.inference_mode = False
        section.base_model_name_or_path = None  # PEFT warns where the base lies elsewhere now
        adapted = get_peft_model(model, section)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"model.adapter {config.model.adapter} can't be loaded onto this base ({error})") from error
    assert isinstance(adapted, PeftModel)
    return adapted


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """Load a base's tokenizer without its weights.

    Raises:
        BaseModelError: there is none.

    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise _not_there(base, error) from error
    return tokenizer


def _not_there(base: str, error: Exception) -> BaseModelError:
    return BaseModelError(f"model.base {base!r} can't be loaded, give a local folder or a Hugging Face name ({error})")
