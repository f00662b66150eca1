"""Shrink a tokenizer's vocabulary, and the embedding with it, to the pieces that are worth their bytes."""

import json
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from training.errors import VocabularyError


def shrink_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], size: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Keep `size` pieces: special ones, single characters, those that the texts use, then the likeliest of the rest.

    The texts keep their tokens (with new ids), so their logits do not change. Unigram tokenizers only: others merge by
    rules that name the pieces.

    Raises:
        VocabularyError: not a fast Unigram tokenizer, or the texts alone use more pieces than `size`.

    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend else {}
    if state.get("model", {}).get("type") != "Unigram" or state["post_processor"]["type"] != "TemplateProcessing":
        raise VocabularyError("export.vocabulary_size needs a fast Unigram tokenizer with a template (XLM-R, e5); leave it out for others")
    backend.no_truncation()
    kept = _kept_ids(state, {piece for text in texts for piece in backend.encode(text).ids}, size)
    new_id = _renumber(state, kept)
    if model.config.pad_token_id is not None:
        model.config.pad_token_id = new_id[model.config.pad_token_id]
    return _shrunk_model(model, kept), _rebuilt(tokenizer, state)


def _kept_ids(state: dict[str, Any], used: set[int], size: int) -> list[int]:
    vocabulary: list[tuple[str, float]] = state["model"]["vocab"]
    special = {token["id"] for token in state["added_tokens"]} | {state["model"]["unk_id"]}
    single = {index for index, (piece, _) in enumerate(vocabulary) if len(piece) == 1}
    must = special | used
    if len(must) > size:
        raise VocabularyError(f"export.vocabulary_size is {size}, but the training texts use {len(must)} pieces")
    rest = sorted(set(range(len(vocabulary))) - must, key=lambda index: (index not in single, -vocabulary[index][1]))
    return sorted(must | set(rest[: size - len(must)]))


def _renumber(state: dict[str, Any], kept: list[int]) -> dict[int, int]:
    """Give the kept pieces new ids throughout a tokenizer's state; give the new id of each old one."""
    new_id = {old: new for new, old in enumerate(kept)}
    vocabulary = state["model"]["vocab"]
    state["model"]["vocab"] = [vocabulary[old] for old in kept]
    state["model"]["unk_id"] = new_id[state["model"]["unk_id"]]
    for token in state["added_tokens"]:
        token["id"] = new_id[token["id"]]
    for token in state["post_processor"]["special_tokens"].values():
        token["ids"] = [new_id[old] for old in token["ids"]]
    return new_id


def _shrunk_model(model: PreTrainedModel, kept: list[int]) -> PreTrainedModel:
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    old = embeddings.weight.data
    embedding = torch.nn.Embedding(len(kept), old.shape[1], padding_idx=model.config.pad_token_id)
    embedding.weight.data = old[torch.tensor(kept)].clone()
    model.set_input_embeddings(embedding)
    model.config.vocab_size = len(kept)
    return model


def _rebuilt(tokenizer: PreTrainedTokenizerBase, state: dict[str, Any]) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_input_names=tokenizer.model_input_names,
        **tokenizer.special_tokens_map,
    )
