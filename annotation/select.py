"""Choose which posts people should label."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from annotation.diversity import Vectors, spread, vectorise
from annotation.duplicates import near_duplicates
from annotation.ranking import MEASURES, Ranking, Strategy, rank
from annotation.uncertainty import Probabilities
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review


@dataclass(frozen=True, slots=True)
class Options:
    """How many posts to choose, and how. `known` holds ids of texts that are labelled, or that annotators have before them."""

    count: int
    strategy: Strategy = field(default_factory=Strategy)
    known: Collection[str] = frozenset()
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Chosen:
    """A post for annotators, why it was chosen, and how many of the judged posts say nearly the same, itself included."""

    review: Review
    purpose: Purpose
    stands_for: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Posts that all differ: their probabilities [posts, labels], which are audit posts, and the vectors of those in a ranking."""

    probabilities: Probabilities
    is_audit: NDArray[np.bool_]
    vectors: Callable[[Ranking], Vectors]


def select(reviews: Sequence[Review], options: Options) -> list[Chosen]:
    """Choose at most `options.count` posts, the most useful first, random ones evenly among them; the order of `reviews` is of no account.

    Of posts that say nearly the same one is chosen, and none where one is known. Of several judgements of a text the newest counts.
    """
    judgements = Counter(review.text_id for review in reviews)
    newest = {review.text_id: review for review in sorted(reviews, key=lambda review: (review.created_at, repr(review)))}
    ids = sorted(newest)  # of hashes: no order that means anything
    leaders = near_duplicates([newest[text_id].text for text_id in ids])
    known = {leader for text_id, leader in zip(ids, leaders, strict=True) if text_id in options.known}
    stands_for: Counter[int] = Counter()
    for text_id, leader in zip(ids, leaders, strict=True):
        stands_for[leader] += judgements[text_id]
    candidates = [leader for leader in stands_for if leader not in known]
    posts = [newest[ids[leader]] for leader in candidates]
    chosen = choose(_pool(posts), options)
    return [Chosen(posts[index], purpose, stands_for[candidates[index]]) for index, purpose in chosen]


def _pool(posts: Sequence[Review]) -> Pool:
    return Pool(
        np.array([post.probabilities for post in posts]).reshape(-1, len(Label)),
        np.array([post.is_audit for post in posts], bool),
        lambda ranking: vectorise([posts[index].text for index in ranking]),
    )


def choose(pool: Pool, options: Options) -> list[tuple[int, Purpose]]:
    """Choose from posts that all differ and are not known, by index.

    Where there are audit posts, the random share comes from them alone, and they are asked about for no other purpose: were the uncertain
    ones among them taken for what they teach, those left would make the model look better than it is.
    """
    posts = np.arange(len(pool.is_audit))
    audit = posts[pool.is_audit]
    share = round(min(options.count, len(posts)) * options.strategy.random_share)
    drawn = np.random.default_rng(options.seed).permutation(audit if len(audit) else posts)[:share]
    others = posts[~pool.is_audit] if 0 < len(audit) < len(posts) else np.setdiff1d(posts, drawn)
    useful = _useful(pool, others, options.count - len(drawn), options)
    return _mixed(drawn, useful)


def _useful(pool: Pool, posts: Ranking, count: int, options: Options) -> Ranking:
    """Give the `count` most useful of some posts."""
    strategy = options.strategy
    ranking = posts[rank(pool.probabilities[posts], strategy)][: count * strategy.spread_over]
    if strategy.spread_over == 1 or not 0 < count < len(ranking):
        return ranking[:count]
    weights = MEASURES[strategy.measure](pool.probabilities[ranking])
    chosen = spread(pool.vectors(ranking), weights, count, options.seed)
    rest = np.setdiff1d(np.arange(len(ranking)), chosen)  # makes up for clusters that nothing fell into
    spread_out: Ranking = ranking[np.sort(np.append(chosen, rest[: count - len(chosen)]))]
    return spread_out


def _mixed(drawn: Ranking, useful: Ranking) -> list[tuple[int, Purpose]]:
    """Put the drawn posts evenly among the useful ones, so that half of the work has half of both."""
    places = [((place + 0.5) / len(drawn), int(post), Purpose.RANDOM) for place, post in enumerate(drawn)]
    places += [((place + 0.5) / len(useful), int(post), Purpose.UNCERTAIN) for place, post in enumerate(useful)]
    return [(post, purpose) for _, post, purpose in sorted(places)]
