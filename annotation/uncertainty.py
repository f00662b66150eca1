"""How unsure a model is of each post: 0 not at all, 1 as much as it can be."""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]  # [posts, labels]; each row adds up to 1
Scores = NDArray[np.float64]  # [posts]


def least_confidence(probabilities: Probabilities) -> Scores:
    """Give what the likeliest label leaves over (Lewis and Gale 1994), where 1 is that all labels are as likely."""
    labels = probabilities.shape[1]
    scores: Scores = (1 - probabilities.max(axis=1)) * labels / (labels - 1)
    return scores


def margin(probabilities: Probabilities) -> Scores:
    """Give how near the second label comes to the first (Scheffer, Decomain and Wrobel 2001)."""
    ordered = np.sort(probabilities, axis=1)
    return 1 - (ordered[:, -1] - ordered[:, -2])


def entropy(probabilities: Probabilities) -> Scores:
    """Give the entropy of the labels (Shannon 1948) as a share of the largest there is."""
    logarithms = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    scores: Scores = -(probabilities * logarithms).sum(axis=1) / np.log(probabilities.shape[1])
    return scores
