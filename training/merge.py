"""Fold the adapters into the encoder, so that serving needs no PEFT."""

from pathlib import Path

from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from training.finetune import load_base


def merge(base: str, adapter: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Give the base with adapters and head merged in, ready to export, and the tokenizer it was trained with.

    Raises:
        BaseModelError: the base can't be loaded.

    """
    model, _ = load_base(base)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    assert isinstance(merged, PreTrainedModel)
    return merged.eval(), AutoTokenizer.from_pretrained(adapter)
