"""Tiny random encoders, and a decoder, to fine-tune, with real tokenizers, and invented posts that a few steps tell apart."""

import json
import random
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    BertTokenizerFast,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2TokenizerFast,
)

from semantic_service.contract.labels import Label
from training.config import LoraConfig
from training.methods import add_lora
from training.pretrained import load_base

SIGNS = {Label.COMPLIANT: "晴好", Label.SUSPICIOUS: "私聊", Label.VIOLATION: "赌博"}
FILLER = "".join(map(chr, range(0x4E00, 0x4E00 + 150)))  # 150 characters of CJK, none of them above
POSITIONS = 32


def rows(count: int, labels: tuple[Label, ...] = tuple(Label), seed: int = 7) -> list[dict[str, object]]:
    """Invent posts: filler, the label's sign twice, filler. Each stands once."""
    source = random.Random(seed)
    posts = []
    for number in range(count):
        label = labels[number % len(labels)]
        before, after = ("".join(source.choices(FILLER, k=source.randint(1, 9))) for _ in range(2))
        posts.append({"text": f"{before}{SIGNS[label] * 2}{after}", "label": label.english})
    return posts


def write_rows(path: Path, some: list[dict[str, object]]) -> Path:
    """Write posts as JSONL."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
    return path


def write_base(folder: Path, tokenizer: PreTrainedTokenizerBase, architecture: type[PretrainedConfig] = BertConfig) -> Path:
    """Save an encoder, or a decoder, of two layers for a tokenizer, with the tokenizer."""
    torch.manual_seed(7)
    config = architecture(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,  # a decoder's
        intermediate_size=64,
        max_position_embeddings=POSITIONS + (2 if "roberta" in architecture.model_type else 0),  # RoBERTa counts from 2
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,  # the usual 0.02 makes every text look alike after two layers
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def word_piece(folder: Path) -> PreTrainedTokenizerBase:
    """Make BERT's own tokenizer."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"".join(SIGNS.values()), *FILLER, "hello", "##o"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"))


def unigram() -> PreTrainedTokenizerBase:
    """Make a tokenizer of XLM-R's kind: special pieces, signs, characters, pairs of them, and the mask last of all."""
    pairs = list(map("".join, pairwise(FILLER)))
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(sign, -4.0) for sign in SIGNS.values()]
    pieces += [(character, -6.0 - 0.01 * rank) for rank, character in enumerate(FILLER)]
    pieces += [(pair, -7.0 - 0.01 * rank) for rank, pair in enumerate(pairs)] + [("<mask>", 0.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = dict.fromkeys(("bos_token", "cls_token"), "<s>") | dict.fromkeys(("eos_token", "sep_token"), "</s>")
    names |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **names)


def byte_pairs() -> PreTrainedTokenizerBase:
    """Make a tokenizer of Qwen's kind: pairs of bytes, nothing added to a text, no pad token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [*SIGNS.values(), *FILLER]
    backend.train_from_iterator(texts * 2, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return Qwen2TokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token=None)


def write_decoder(folder: Path) -> Path:
    """Save a decoder of Qwen2's kind, with its tokenizer."""
    return write_base(folder, byte_pairs(), Qwen2Config)


def write_adapter(folder: Path, base: Path, seed: int = 3, **section: object) -> Path:
    """Save an adapter as training could have left it: everything that trains has moved."""
    model, tokenizer = load_base(str(base))
    adapted = add_lora(model, LoraConfig(rank=4, **section))
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=source) / 5)
    adapted.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
