"""Make of a base what each method trains: adapters on it (lora, qlora), its upper layers (frozen), or all of it (full)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from training.config import LoraConfig as LoraSection
from training.config import TrainConfig
from training.errors import BaseModelError, ConfigError
from training.export import refuse_unexportable
from training.heads import output_names
from training.parameters import HEAD_MODULES, is_head
from training.pretrained import load_base, refuse_too_long

# What `auto` adapts where a model has all of one row: BERT and its relatives; Qwen, Llama and theirs.
ATTENTION = (("query", "key", "value", "dense"), ("q_proj", "k_proj", "v_proj", "o_proj"))


def prepare(config: TrainConfig, compute: torch.dtype = torch.float32) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """Load the base, ready to train as `model.method` says; `compute` is what 4-bit weights are multiplied in.

    Raises:
        BaseModelError: the base or the adapter can't be loaded, or the base can't be exported, or has fewer positions than max_tokens.
        ConfigError: the method can't be used on this base, or 4 bits not on this machine.

    """
    section = config.model
    model, tokenizer = load_base(
        section.base,
        _four_bits(compute) if section.method == "qlora" else None,
        output_names(config.outputs),
        section.dropout,
    )
    refuse_too_long(model, section.max_tokens, section.base)
    refuse_unexportable(model, config.export.vocabulary_size)
    _leave_unpacked(model)
    return choose_what_trains(model, config) if section.adapter is None else _go_on(model, section.adapter), tokenizer


def choose_what_trains(model: PreTrainedModel, config: TrainConfig) -> PreTrainedModel | PeftModel:
    """Freeze, or wrap in new adapters, as `model.method` says.

    Raises:
        ConfigError: the method can't be used on this model.

    """
    match config.model.method:
        case "full":
            return model
        case "frozen":
            freeze_below(model, config.model.trained_layers)
            return model
        case _:
            return add_lora(model, config.lora)


def add_lora(model: PreTrainedModel, section: LoraSection) -> PeftModel:
    """Wrap a model in LoRA adapters; its head trains in full and is saved with them.

    Raises:
        ConfigError: the model has no such target modules.

    """
    parts = {part for path, _ in model.named_modules() for part in path.split(".")}
    adapted = get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=section.rank,
            lora_alpha=section.alpha,  # type: ignore[arg-type]  # PEFT says int, and divides by the rank
            lora_dropout=section.dropout,
            target_modules=_targets(model, section.target_modules),
            bias=section.bias,
            use_rslora=section.use_rslora,
            use_dora=section.use_dora,
            modules_to_save=[name for name in HEAD_MODULES if name in parts],
        ),
    )
    assert isinstance(adapted, PeftModel)
    return adapted


def _targets(model: PreTrainedModel, named: str | Sequence[str]) -> list[str]:
    """Give the paths of the linear layers below the head that `lora.target_modules` means."""
    linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear) and not is_head(path)]
    known = {path.rpartition(".")[2] for path in linear}
    if named == "auto":
        named = next((names for names in ATTENTION if known.issuperset(names)), "all-linear")
    if named == "all-linear":
        return linear
    absent = [name for name in named if not any(_ends_with(path, name) for path in linear)]
    if absent or not named:
        raise ConfigError(f"lora.target_modules {', '.join(absent)}: use auto, all-linear, or some of {', '.join(sorted(known))}")
    return [path for path in linear if any(_ends_with(path, name) for name in named)]


def _ends_with(path: str, name: str) -> bool:
    return f".{path}".endswith(f".{name}")


def _go_on(base: PreTrainedModel, adapter: Path) -> PeftModel:
    try:
        return PeftModel.from_pretrained(base, str(adapter), is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseModelError(f"model.adapter {adapter} can't be loaded onto this base ({error})") from error


def freeze_below(model: PreTrainedModel, trained_layers: int) -> None:
    """Freeze the embeddings and every layer below the upper `trained_layers`.

    Raises:
        ConfigError: the model has fewer layers, or none that can be told apart.

    """
    count = model.config.num_hidden_layers
    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == count]
    if not stacks:
        raise ConfigError(f"model.method frozen: the layers of a {model.config.model_type} can't be told apart, use full or lora")
    if trained_layers > count:
        raise ConfigError(f"model.trained_layers is {trained_layers}, but the base has {count} layers: lower it, or use model.method full")
    first = next(stacks[0][count - trained_layers].parameters())
    for parameter in model.parameters():  # in the order of computation: embeddings, layers, head
        if parameter is first:
            return
        parameter.requires_grad_(False)


def _four_bits(compute: torch.dtype) -> BitsAndBytesConfig:
    """Store linear layers as QLoRA does (Dettmers et al. 2023): 4-bit NF4, its scales quantised too; the head stays in full."""
    try:
        from bitsandbytes.functional import quantize_4bit  # noqa: PLC0415 - not on every platform

        quantize_4bit(torch.zeros(64, 64, device="cuda" if torch.cuda.is_available() else "cpu"))
    except (ImportError, OSError, RuntimeError, NotImplementedError) as error:
        raise ConfigError(f"model.method qlora: bitsandbytes can't do 4 bits on this machine, use lora ({error})") from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=list(HEAD_MODULES),  # of 4 bits too
    )


def _leave_unpacked(model: PreTrainedModel) -> None:
    """Keep 4-bit weights as they can be trained on.

    On a processor with AVX-512 BF16 bitsandbytes repacks them at the first evaluation, for inference alone.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment] # torch's stubs take any attribute for a tensor
