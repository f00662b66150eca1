"""How far annotators agree with each other, and with posts whose label is known; what can't be known is None."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import median

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from annotation.rates import Rate, rate
from annotation.settle import by_text, votes
from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label

Opinions = Sequence[Mapping[str, Label | None]]  # of each post, by annotator

ANSWERS = (*Label, None)  # "can't tell" is an answer that people may agree on
MIN_POSTS = 10  # fewer say nothing of other samples: no interval
RESAMPLES = 1_000
SEED = 7


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance, at most 1, over so many posts; `low` to `high` is the 95 % bootstrap interval over posts."""

    value: float
    posts: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f"{self.low:.2f}–{self.high:.2f}; "
        return f"{self.value:.2f} ({interval}{self.posts:,})"


@dataclass(frozen=True, slots=True)
class Annotator:
    """One annotator: how many answers, the median of their seconds, against the others, and on gold posts."""

    name: str
    answers: int
    cant_tell: int
    seconds: float | None
    kappa: Kappa | None  # Cohen's, against everybody else's answers to the same posts
    gold: Rate | None  # right answers; "can't tell" is not right


@dataclass(frozen=True, slots=True)
class Agreement:
    """Fleiss' kappa over all answers and of each label against the rest; Cohen's of each two annotators; each annotator."""

    overall: Kappa | None
    labels: Mapping[str, Kappa | None]
    pairs: Mapping[tuple[str, str], Kappa | None]
    annotators: tuple[Annotator, ...]


def measure(answers: Iterable[Answer], gold: Mapping[str, Label]) -> Agreement:
    """Measure all annotators; `gold` has the known labels by text id."""
    groups = by_text(answers)
    opinions = [votes(given) for given in groups.values()]
    shared = [post for post in opinions if len(post) > 1]
    names = sorted({answer.annotator for given in groups.values() for answer in given})
    return Agreement(
        overall=fleiss(shared),
        labels={label.english: fleiss(shared, label) for label in Label},
        pairs={pair: cohen(shared, [pair]) for pair in combinations(names, 2)},
        annotators=tuple(_annotator(name, names, groups, gold) for name in names),
    )


def cohen(opinions: Opinions, pairs: Iterable[tuple[str, str]]) -> Kappa | None:
    """Cohen's kappa (1960) of the first annotator of each pair against the second, over the posts that both answered.

    Not known without such a post, and where everybody gave one and the same answer: chance would have agreed as well.
    """
    wanted = set(pairs)
    posts, answers = 0, []
    for post in opinions:
        met = [(_index(post[one]), _index(post[other])) for one, other in permutations(post, 2) if (one, other) in wanted]
        posts += bool(met)
        answers += met
    if len({answer for pair in answers for answer in pair}) < 2:  # noqa: PLR2004 - one answer is no choice
        return None
    one, other = zip(*answers, strict=True)
    return Kappa(float(cohen_kappa_score(one, other)), posts)


def fleiss(opinions: Opinions, label: Label | None = None) -> Kappa | None:
    """Fleiss' kappa (1971) over the posts that several people answered; with a label, of that label against the rest.

    Posts may have different numbers of answers: each post counts alike, its answers as shares. Not known without such a post, and
    where all answers are one and the same.
    """
    counts = _counts(opinions, label)
    if not len(counts):
        return None
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    value = _fleiss(kinds, times[None, :])[0]
    if np.isnan(value):
        return None
    return Kappa(float(value), len(counts), *_interval(kinds, times))


def _counts(opinions: Opinions, label: Label | None) -> NDArray[np.int64]:
    """Count each post's answers: [posts, kinds of answer]."""
    kinds = len(ANSWERS) if label is None else 2
    counts = [Counter(_index(answer) if label is None else int(answer == label) for answer in post.values()) for post in opinions]
    several = [[count[kind] for kind in range(kinds)] for count in counts if count.total() > 1]
    return np.array(several, dtype=np.int64).reshape(-1, kinds)


def _fleiss(kinds: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the kappa of each sample: posts of `kinds` [k, answers], each `times` [samples, k]; NaN where chance alone agrees wholly."""
    given = kinds.sum(axis=1)
    agreeing = (kinds * (kinds - 1)).sum(axis=1) / (given * (given - 1))
    posts = times.sum(axis=1)
    observed = times @ agreeing / posts
    expected = ((times @ (kinds / given[:, None]) / posts[:, None]) ** 2).sum(axis=1)
    chance = 1 - expected
    kappas: NDArray[np.float64] = np.where(chance > 1e-12, (observed - expected) / np.maximum(chance, 1e-12), np.nan)  # noqa: PLR2004 - rounding
    return kappas


def _interval(kinds: NDArray[np.int64], times: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Resample the posts (Efron and Tibshirani 1993); samples in which all answers are the same do not count, unless they are most."""
    posts = int(times.sum())
    if posts < MIN_POSTS:
        return None, None
    drawn = np.random.default_rng(SEED).multinomial(posts, times / posts, RESAMPLES)
    kappas = _fleiss(kinds, drawn)
    if np.isnan(kappas).mean() > 0.5:  # noqa: PLR2004 - most
        return None, None
    low, high = np.nanquantile(kappas, (0.025, 0.975))
    return float(low), float(high)


def _index(answer: Label | None) -> int:
    return ANSWERS.index(answer)


def _annotator(name: str, names: Sequence[str], groups: Mapping[str, Sequence[Answer]], gold: Mapping[str, Label]) -> Annotator:
    own = [answer for given in groups.values() for answer in given if answer.annotator == name]
    seconds = [answer.seconds for answer in own if answer.seconds is not None]
    opinions = [votes(given) for given in groups.values()]
    return Annotator(
        name=name,
        answers=len(own),
        cant_tell=sum(answer.label is None for answer in own),
        seconds=median(seconds) if seconds else None,
        kappa=cohen(opinions, [(name, other) for other in names if other != name]),
        gold=_on_gold(own, gold),
    )


def _on_gold(answers: Iterable[Answer], gold: Mapping[str, Label]) -> Rate | None:
    right: dict[str, bool] = defaultdict(bool)
    for answer in answers:
        text_id = answer.text_id
        if answer.purpose is Purpose.GOLD and text_id in gold:
            right[text_id] = answer.label == gold[text_id]
    return rate(sum(right.values()), len(right))
