"""Rank posts by what their labels should teach a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config

from annotation.uncertainty import Probabilities, Scores, entropy, least_confidence, margin

Measure = Literal["least_confidence", "margin", "entropy"]
MEASURES: Mapping[Measure, Callable[[Probabilities], Scores]] = MappingProxyType(
    {"least_confidence": least_confidence, "margin": margin, "entropy": entropy}
)

Ranking = NDArray[np.intp]  # indices of posts, the most useful first


_Share = Annotated[float, Field(ge=0, le=1)]


@with_config(ConfigDict(extra="forbid"))  # where a config holds one
@dataclass(frozen=True, slots=True)
class Strategy:
    """What makes a post useful. The defaults are what `simulate` found best: see training/LOG.md.

    `uncertain_max`: posts whose confidence is above it are left out (ARCHITECTURE: 0.6). `clipped_share`: of the most uncertain posts,
    left out too. `spread_over`: the choice is spread over so many times as many posts of the ranking as are wanted; 1 is not at all.
    `is_balanced`: the model's guesses take turns. `random_share`: of the choice, drawn whatever the model thinks.
    """

    measure: Measure = "entropy"
    uncertain_max: _Share = 0.6
    clipped_share: _Share = 0.02
    spread_over: Annotated[int, Field(ge=1)] = 2
    is_balanced: bool = False
    random_share: _Share = 0.1


def rank(probabilities: Probabilities, strategy: Strategy) -> Ranking:
    """Give the posts that will do, the most useful first."""
    ranking = most_uncertain(MEASURES[strategy.measure](probabilities))
    ranking = clipped(in_band(ranking, probabilities, strategy.uncertain_max), strategy.clipped_share)
    return balanced(ranking, probabilities.argmax(axis=1)) if strategy.is_balanced else ranking


def most_uncertain(scores: Scores) -> Ranking:
    """Rank by a score, the highest first (uncertainty sampling, Lewis and Gale 1994); equals keep their order."""
    return np.argsort(-scores, kind="stable")


def in_band(ranking: Ranking, probabilities: Probabilities, uncertain_max: float) -> Ranking:
    """Leave out the posts that the model is surer of than this."""
    kept: Ranking = ranking[probabilities[ranking].max(axis=1) <= uncertain_max]
    return kept


def clipped(ranking: Ranking, share: float) -> Ranking:
    """Leave out the first share: among the most uncertain are many outliers, which teach little (Gonsior et al. 2022)."""
    return ranking[int(len(ranking) * share) :]


def balanced(ranking: Ranking, guesses: NDArray[np.intp]) -> Ranking:
    """Let the guessed labels take turns: the first post of each, then the second of each, for as long as there are posts of it."""
    turns = np.zeros(len(ranking), np.intp)
    for guess in np.unique(guesses[ranking]):
        is_own = guesses[ranking] == guess
        turns[is_own] = np.arange(is_own.sum())
    return ranking[np.argsort(turns, kind="stable")]
