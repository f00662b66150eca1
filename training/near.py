"""Texts that are nearly alike, and on which side of a run they belong."""

from collections.abc import Collection, Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from training.dataset import Example

SHINGLE = 3  # characters
FEWEST_SHINGLES = 4  # of a text that can be near another without being equal to it
SHARED = 0.5  # of the shorter text's shingles, for two texts to be near


def leave_to_last(examples: Sequence[Example], held_out: Sequence[Example], sources: Sequence[str]) -> list[Example]:
    """Of texts of several named sources that are equal or near, keep those of the source that is named last, held out or not.

    Sources contradict each other about them, and each teaches which source such a text is of.
    """
    kept = list(examples)
    for index, source in enumerate(sources):
        later = [example.text for example in (*kept, *held_out) if example.source in sources[index + 1 :]]
        own = {example.text for example in kept if example.source == source}
        lost = near_texts(own, later)
        kept = [example for example in kept if example.source != source or example.text not in lost]
    return kept


def twins(examples: Sequence[Example], held_out: Sequence[Example], sources: Sequence[str]) -> set[str]:
    """Give the texts that are near a held-out one of the same named source: a set of pairs is held out in whole pairs."""
    found: set[str] = set()
    for source in sources:
        own, others = ({example.text for example in rows if example.source == source} for rows in (examples, held_out))
        found |= near_texts(own, others)
    return found


def near_texts(texts: Collection[str], others: Collection[str]) -> set[str]:
    """Give the texts that equal one of the others, or share half of the shorter one's shingles of characters with it (Broder 1997)."""
    return {*texts} & {*others} | _sharing(_long(texts), _long(others))


def _long(texts: Collection[str]) -> list[str]:
    return [text for text in texts if len(text) >= SHINGLE]


def _sharing(texts: Sequence[str], others: Sequence[str]) -> set[str]:
    if not texts or not others:
        return set()
    shingles = CountVectorizer(analyzer="char", ngram_range=(SHINGLE, SHINGLE), binary=True, lowercase=False)
    found = shingles.fit_transform([*texts, *others])
    sizes = np.asarray(found.sum(axis=1)).ravel()
    shared = (found[: len(texts)] @ found[len(texts) :].T).tocoo()
    shorter = np.minimum(sizes[shared.row], sizes[len(texts) + shared.col])
    near = shared.row[(shorter >= FEWEST_SHINGLES) & (shared.data >= SHARED * shorter)]
    return {texts[row] for row in near.tolist()}
