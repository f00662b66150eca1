from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.ranking import Strategy
from annotation.select import Options, Pool, choose, select
from semantic_service.contract.answers import Purpose
from tests.annotation.judged import review
from tests.strategies import any_text

ONLY_UNCERTAIN = Strategy("least_confidence", uncertain_max=1, clipped_share=0, spread_over=1, random_share=0)
# Posts that say different things, in words of their own.
DIFFERENT = [f"{chr(0x4E00 + 40 * number)}{chr(0x5E00 + 7 * number)}{chr(0x6E00 + 11 * number)}" * 3 for number in range(200)]


def posts(count, **values):
    """Give different posts, the surest last."""
    return [review(DIFFERENT[number], (0.34 + number / 400, 0.66 - number / 400, 0.0), **values) for number in range(count)]


shares = st.floats(0, 1)
strategies = st.builds(
    Strategy,
    measure=st.sampled_from(["least_confidence", "margin", "entropy"]),
    uncertain_max=st.sampled_from([0.6, 1.0]),
    clipped_share=shares,
    is_balanced=st.booleans(),
    random_share=shares,
)
probabilities = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.01, 1)).map(
    lambda drawn: tuple(p / sum(drawn) for p in drawn)
)
reviews = st.lists(st.builds(review, any_text | st.sampled_from(DIFFERENT), probabilities, is_audit=st.booleans()), max_size=20)


@given(reviews=reviews, strategy=strategies, count=st.integers(0, 25), shuffler=st.randoms(), known=st.sets(st.integers(0, 19)))
def test_a_choice_asks_once_about_a_text_that_is_not_known_and_never_for_too_many(reviews, strategy, count, shuffler, known):
    known = {reviews[number].text_id for number in known if number < len(reviews)}
    options = Options(count, strategy, known)
    chosen = select(reviews, options)
    ids = [post.review.text_id for post in chosen]
    assert len(set(ids)) == len(ids) <= count
    assert not known & set(ids)
    assert all(post.review in reviews for post in chosen)
    assert sum(post.stands_for for post in chosen) <= len(reviews)
    shuffler.shuffle(reviews)
    assert select(reviews, options) == chosen


def test_of_a_flood_of_500_one_is_asked_about_and_says_for_how_many_it_stands():
    flood = [review(f"注册即送彩金，百家乐老虎机应有尽有，提现秒到账，加微 {number}") for number in range(500)]
    chosen = select(flood + posts(20), Options(10, ONLY_UNCERTAIN))
    assert Counter(post.stands_for for post in chosen) == {500: 1, 1: 9}


def test_a_flood_that_has_been_asked_about_is_not_asked_about_again():
    flood = [review(f"注册即送彩金，百家乐老虎机应有尽有，提现秒到账，加微 {number}") for number in range(5)]
    assert select(flood, Options(5, known={flood[3].text_id})) == []


def test_a_text_judged_twice_is_asked_about_with_the_newer_verdict():
    old, new = (review("一二三四", created_at=f"2026-11-2{day}T00:00:00+00:00", model_version=f"m-{day}") for day in (1, 2))
    (chosen,) = select([new, old], Options(5))
    assert (chosen.review, chosen.stands_for) == (new, 2)


def test_the_least_sure_come_first():
    chosen = select(posts(50), Options(10, ONLY_UNCERTAIN))
    confidences = [post.review.confidence for post in chosen]
    assert confidences == sorted(post.confidence for post in posts(50))[:10]
    assert {post.purpose for post in chosen} == {Purpose.UNCERTAIN}


def test_random_posts_come_from_audit_posts_alone_and_stand_evenly_among_the_others():
    source = posts(100) + [review(text, (1.0, 0.0, 0.0), is_audit=True) for text in DIFFERENT[100:150]]
    chosen = select(source, Options(50, replace(ONLY_UNCERTAIN, random_share=0.1)))
    places = [place for place, post in enumerate(chosen) if post.purpose is Purpose.RANDOM]
    assert len(chosen) == 50
    assert all(post.review.is_audit == (post.purpose is Purpose.RANDOM) for post in chosen)
    assert len(places) == 5
    assert set(np.diff(places)) <= {9, 10, 11}


def test_an_uncertain_audit_post_waits_for_the_random_draw():
    source = [*posts(5), review(DIFFERENT[9], (0.34, 0.33, 0.33), is_audit=True)]
    assert len(select(source, Options(6, ONLY_UNCERTAIN))) == 5


def test_where_every_post_is_an_audit_post_the_uncertain_ones_are_asked_about_all_the_same():
    chosen = select(posts(50, is_audit=True), Options(20, replace(ONLY_UNCERTAIN, random_share=0.1)))
    assert Counter(post.purpose for post in chosen) == {Purpose.UNCERTAIN: 18, Purpose.RANDOM: 2}


def test_without_audit_posts_the_random_share_comes_from_all():
    chosen = select(posts(50), Options(20, replace(ONLY_UNCERTAIN, random_share=0.5)))
    assert Counter(post.purpose for post in chosen) == {Purpose.UNCERTAIN: 10, Purpose.RANDOM: 10}


def test_every_audit_post_is_as_likely_to_be_drawn():
    pool = Pool(np.tile([0.5, 0.3, 0.2], (20, 1)), np.arange(20) < 10, None)
    draws = Counter(
        post
        for seed in range(2_000)
        for post, purpose in choose(pool, Options(2, replace(ONLY_UNCERTAIN, random_share=0.5), seed=seed))
        if purpose is Purpose.RANDOM
    )
    assert sorted(draws) == list(range(10))
    assert max(abs(count - 200) for count in draws.values()) < 70  # 5 standard deviations


def test_a_spread_choice_takes_one_of_each_kind_where_the_most_uncertain_are_all_of_one():
    kinds = ["赌博彩票百家乐", "发票代开税务局", "刷单兼职日结钱"]
    pairs = [(f"{kind}{DIFFERENT[20 * place + number]}", place) for place, kind in enumerate(kinds) for number in range(6)]
    source = [review(text, (0.5 + place / 50, 0.5 - place / 50, 0.0)) for text, place in pairs]
    plain = select(source, Options(3, ONLY_UNCERTAIN))
    spread = select(source, Options(3, replace(ONLY_UNCERTAIN, spread_over=6)))
    assert len({post.review.text[:7] for post in plain}) == 1
    assert len({post.review.text[:7] for post in spread}) == 3


def test_a_spread_choice_is_as_large_as_it_was_asked_to_be():
    alike = [review(f"{DIFFERENT[0]}{text}") for text in DIFFERENT[:40]]
    assert len(select(alike, Options(15, replace(ONLY_UNCERTAIN, spread_over=2)))) == 15


def test_posts_that_the_model_is_sure_of_are_asked_about_at_random_alone():
    sure = [review(text, (0.9, 0.1, 0.0)) for text in DIFFERENT[:50]]
    assert {post.purpose for post in select(sure, Options(50))} == {Purpose.RANDOM}


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_draws_others(seed):
    drawn = [
        {post.review.text for post in select(posts(100), Options(10, Strategy(random_share=1), seed=number))}
        for number in (seed, seed, seed + 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
