"""The labelled texts of a simulation."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from annotation.diversity import Vectors, vectorise
from annotation.duplicates import near_duplicates
from annotation.errors import SimulationError
from annotation.simulate_config import SimulationConfig
from annotation.simulate_features import Encoder, character_features, with_embeddings
from semantic_service.contract.labels import Label, UnknownLabelError
from semantic_service.contract.text import normalise

_SEED = 7  # of the cut to `pool_rows` and `test_rows`


@dataclass(frozen=True, slots=True)
class Example:
    """A normalised text and its label."""

    text: str
    label: Label


@dataclass(frozen=True)
class Data:
    """The pool, no two texts of which say nearly the same, and the test texts, none of which is in the pool."""

    pool: Sequence[str]
    pool_labels: NDArray[np.intp]
    pool_features: csr_matrix
    pool_vectors: Vectors
    test: Sequence[str]
    test_labels: NDArray[np.intp]
    test_features: csr_matrix

    @cached_property
    def digest(self) -> str:
        """Digest of what the model learns from and is measured on."""
        parts = (self.pool_labels, self.pool_features.indices, self.pool_features.data, self.test_labels, self.test_features.data)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def load(config: SimulationConfig) -> Data:
    """Read both files, and compute what the model sees.

    Raises:
        SimulationError: a file or a row of one that can't be used, or too few texts.

    """
    encoder = None if config.encoder is None else Encoder(config.encoder, config.max_tokens, config.out / "embeddings")
    test = _cut(_distinct(_examples(config.test)), config.test_rows)
    known = {example.text for example in test}
    pool = _cut([example for example in _distinct(_examples(config.train)) if example.text not in known], config.pool_rows)
    leaders = near_duplicates([example.text for example in pool])
    pool = [pool[leader] for leader in sorted(set(leaders))]
    if len(pool) < config.budget:
        raise SimulationError(f"{config.train}: {len(pool):,} different texts, which is less than the budget of {config.budget:,}")
    texts, test_texts = [example.text for example in pool], [example.text for example in test]
    seen, seen_test = character_features(texts, test_texts)
    if encoder is not None:
        embeddings = encoder.embed(texts)
        seen_test = with_embeddings(seen_test, encoder.embed(test_texts), embeddings)
        seen = with_embeddings(seen, embeddings, embeddings)
    return Data(texts, _labels(pool), seen, vectorise(texts), test_texts, _labels(test), seen_test)


def _labels(examples: Sequence[Example]) -> NDArray[np.intp]:
    return np.array([example.label for example in examples], np.intp)


def _examples(path: Path) -> list[Example]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # some texts hold other separators of lines
    except (OSError, UnicodeDecodeError) as error:
        raise SimulationError(f"{path}: can't be read as UTF-8 ({type(error).__name__})") from error
    return [_example(f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]


def _example(place: str, line: str) -> Example:
    try:
        values = json.loads(line)
        return Example(normalise(values["text"]).text, Label.parse(values["label"]))
    except (ValueError, KeyError, TypeError) as error:
        reason = "its label is none of ours" if isinstance(error, UnknownLabelError) else "not an object with text and label"
        raise SimulationError(f"{place}: {reason}; `python -m training doctor` checks a file") from error


def _distinct(examples: Sequence[Example]) -> list[Example]:
    """Give the first of each text that has letters."""
    return list({example.text: example for example in reversed(examples) if example.text}.values())[::-1]


def _cut(examples: list[Example], rows: int | None) -> list[Example]:
    if rows is None or rows >= len(examples):
        return examples
    return [examples[index] for index in np.sort(np.random.default_rng(_SEED).permutation(len(examples))[:rows])]
