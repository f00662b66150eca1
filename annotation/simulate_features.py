"""What a cheap model sees of a text: its characters, and what a frozen encoder makes of it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm import tqdm

from annotation.errors import SimulationError

Features: TypeAlias = csr_matrix  # [texts, features]
Embeddings = NDArray[np.float32]  # [texts, hidden]
_BATCH_TEXTS = 64
_MIN_TEXTS = 3  # that a character or pair must stand in


def character_features(pool: Sequence[str], test: Sequence[str]) -> tuple[Features, Features]:
    """Give the TF-IDF of characters and pairs, as the pool has them: that needs no label."""
    vectoriser = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), min_df=_MIN_TEXTS, sublinear_tf=True, dtype=np.float32)
    return vectoriser.fit_transform(pool), vectoriser.transform(test)


def with_embeddings(characters: Features, embeddings: Embeddings, like: Embeddings) -> Features:
    """Put embeddings beside the characters, standardised as the pool's (`like`) and about as long as a text's characters: 1."""
    standard = (embeddings - like.mean(axis=0)) / (like.std(axis=0) + 1e-6) / np.sqrt(like.shape[1])
    return hstack([characters, csr_matrix(standard)], format="csr")


class Encoder:
    """A Hugging Face encoder whose weights stay as they are. Embeddings are kept in `cache`, by the digest of what they depend on.

    Raises:
        SimulationError: there is none in the folder.

    """

    def __init__(self, folder: Path, max_tokens: int, cache: Path) -> None:
        if not (folder / "config.json").is_file():
            raise SimulationError(f"encoder: {folder} holds no Hugging Face encoder (no config.json)")
        self._folder, self._max_tokens, self._cache = folder, max_tokens, cache

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Give the mean of each text's last hidden states, from the cache where they were computed before.

        Raises:
            SimulationError: the encoder can't be loaded, or the packages to run it are missing.

        """
        path = self._cache / f"{self._digest(texts)}.npy"
        if path.exists():
            found: Embeddings = np.load(path, allow_pickle=False)
            return found
        embeddings = self._compute(texts)
        self._cache.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".partial")
        with aside.open("wb") as file:
            np.save(file, embeddings)
        aside.replace(path)
        return embeddings

    def _digest(self, texts: Sequence[str]) -> str:
        digest = hashlib.sha256(f"{self._max_tokens}".encode())
        for file in sorted(self._folder.glob("*.json")) + sorted(self._folder.glob("*.safetensors")):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.hexdigest()[:32]

    def _compute(self, texts: Sequence[str]) -> Embeddings:
        tokenizer, model = self._load()
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        embeddings = np.zeros((len(texts), model.config.hidden_size), np.float32)
        with tqdm(total=len(texts), desc="embedding", unit="text", disable=None) as progress:
            for start in range(0, len(texts), _BATCH_TEXTS):
                batch = by_length[start : start + _BATCH_TEXTS]
                embeddings[batch] = _mean_state(tokenizer, model, [texts[index] for index in batch], self._max_tokens)
                progress.update(len(batch))
        return embeddings

    def _load(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - seconds, and only the training environment has it
        except ImportError as error:
            raise SimulationError(
                f"encoder: {error.name} is not installed: use .venv/train (`make train-env`), or set encoder=null for characters alone"
            ) from error
        try:
            return AutoTokenizer.from_pretrained(self._folder, local_files_only=True), AutoModel.from_pretrained(
                self._folder, local_files_only=True
            ).float().eval()
        except (OSError, ValueError, TypeError) as error:  # TypeError: a tokenizer's file is missing
            raise SimulationError(f"encoder: {self._folder} holds no Hugging Face encoder ({type(error).__name__}: {error})") from error


def _mean_state(tokenizer: Any, model: Any, texts: list[str], max_tokens: int) -> Embeddings:
    import torch  # noqa: PLC0415

    encoded = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.inference_mode():
        states = model(**encoded).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1)
        mean: Embeddings = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return mean
