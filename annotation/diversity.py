"""Spread a choice over what posts are about."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import MiniBatchKMeans
from sklearn.feature_extraction.text import HashingVectorizer

from semantic_service.contract.text import normalise

Vectors: TypeAlias = csr_matrix  # [posts, features], each of length 1
_FEATURES = 2**12


def vectorise(texts: Sequence[str]) -> Vectors:
    """Give each text's characters and pairs, hashed (Weinberger et al. 2009)."""
    vectoriser = HashingVectorizer(n_features=_FEATURES, analyzer="char", ngram_range=(1, 2), alternate_sign=False)
    vectors: Vectors = vectoriser.transform(normalise(text).text for text in texts)
    return vectors


def spread(vectors: Vectors, weights: NDArray[np.float64], count: int, seed: int) -> NDArray[np.intp]:
    """Choose at most `count` posts, the one nearest to the middle of each cluster, in the order of the posts.

    The clusters are those of k-means, with weights that draw the middles to the most uncertain posts (Zhdanov 2019).
    """
    clusters = MiniBatchKMeans(count, n_init=1, random_state=seed).fit(vectors, sample_weight=weights)
    distances = clusters.transform(vectors)[np.arange(vectors.shape[0]), clusters.labels_]
    nearest_first = np.argsort(distances, kind="stable")
    _, first = np.unique(clusters.labels_[nearest_first], return_index=True)
    return np.sort(nearest_first[first])
