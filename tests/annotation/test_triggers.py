from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.audit import audits, overturned
from annotation.drift import MIN_POSTS, drift, stability
from annotation.rates import rate
from annotation.settle import Overlap, settle
from annotation.triggers import Bounds, Rules, Situation, due, look
from semantic_service.contract.answers import Purpose
from semantic_service.contract.reviews import Feedback, FeedbackKind
from semantic_service.contract.text import text_id
from semantic_service.store.store import Store
from tests.annotation.answers import BAD, GOOD, ODD, answer, at, review

ALONE = Overlap(share=0)
START = datetime(2026, 11, 1, tzinfo=UTC)
histograms = st.lists(st.integers(0, 500), min_size=2, max_size=10)


@pytest.fixture
def store(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    yield store
    store.close()


def test_the_audit_counts_the_models_errors_on_randomly_drawn_posts_alone():
    drawn = [("漏", BAD, GOOD), ("中", ODD, BAD), ("误", GOOD, ODD), ("好", GOOD, GOOD), ("不知", None, GOOD)]
    answers = [answer(text, "甲", label, Purpose.RANDOM, model_label=guess) for text, label, guess in drawn]
    answers += [answer("漏 2", "甲", BAD), answer("金", "甲", BAD, Purpose.GOLD)]
    [audit] = audits(answers, settle(answers, ALONE))
    assert (audit.model_version, audit.posts) == ("v1", 4)
    assert (audit.missed.count, audit.missed.total) == (1, 2)
    assert (audit.false_alarms.count, audit.false_alarms.total) == (1, 2)


def test_each_model_is_audited_on_the_posts_that_it_judged():
    answers = [answer("一", "甲", BAD, Purpose.RANDOM, model_version="old", updated_at=at(1))]
    answers.append(answer("二", "甲", GOOD, Purpose.RANDOM, model_version="new", updated_at=at(2)))
    new, old = audits(answers, settle(answers, ALONE))
    assert (new.model_version, new.missed, new.false_alarms.count) == ("new", None, 0)
    assert (old.missed.count, old.false_alarms) == (1, None)


def said(text, label, minute=5, kind=FeedbackKind.CORRECTION):
    return Feedback(text_id(text), kind, at(minute), label)


def test_a_verdict_is_overturned_by_a_moderators_last_word_against_it():
    reviews = [review(text, BAD, created_at=at(1)) for text in ("一", "二", "三", "四", "五")]
    feedback = [
        said("一", GOOD),
        said("二", GOOD),
        said("二", BAD, 6),
        said("三", BAD),
        said("四", None, kind=FeedbackKind.APPEAL),
        said("六", GOOD),
    ]
    found = overturned(reviews, feedback)
    assert (found.corrected.count, found.corrected.total, found.appealed.count) == (1, 5, 1)


def test_what_was_said_of_an_earlier_verdict_overturns_no_later_one():
    assert overturned([review("一", BAD, created_at=at(9))], [said("一", GOOD, 5)]).corrected.count == 0


def test_without_reviews_nothing_is_known_of_being_overturned():
    assert overturned([], [said("一", GOOD)]).corrected is None


@given(histograms)
def test_a_distribution_is_stable_against_itself(counts):
    assert stability(counts, counts) == 0


@given(histograms.flatmap(lambda one: st.tuples(st.just(one), st.lists(st.integers(0, 500), min_size=len(one), max_size=len(one)))))
def test_stability_is_never_negative_and_the_same_from_either_side(both):
    one, other = both
    assert 0 <= stability(one, other) == pytest.approx(stability(other, one))


def posts(days, confidence, label=GOOD, count=MIN_POSTS, **values):
    """Spread so many audit posts over days since the start."""
    moments = np.linspace(days[0], days[1], count, endpoint=False)
    return [
        review(
            f"{days} {number}",
            label,
            confidence=confidence(number),
            is_audit=True,
            created_at=(START + timedelta(day)).isoformat(),
            **values,
        )
        for number, day in enumerate(moments)
    ]


def spread(number):
    return 0.4 + 0.6 * (number * 37 % MIN_POSTS) / MIN_POSTS


def test_the_same_kind_of_posts_is_no_drift():
    found = drift([*posts((0, 14), spread), *posts((23, 30), spread)], START + timedelta(30))
    assert (found.reference, found.recent) == (MIN_POSTS, MIN_POSTS)
    assert found.largest < 0.01


def test_less_sure_answers_and_other_labels_are_drift():
    unsure = drift([*posts((0, 14), spread), *posts((23, 30), lambda number: 0.4 + spread(number) / 10)], START + timedelta(30))
    assert unsure.confidence > 0.25 > unsure.labels
    flagged = drift([*posts((0, 14), spread), *posts((23, 30), spread, BAD)], START + timedelta(30))
    assert flagged.labels > 0.25 > flagged.confidence


def test_a_new_model_few_posts_and_posts_not_drawn_at_random_say_nothing_of_drift():
    now = START + timedelta(30)
    assert drift([], now) is None
    assert drift(posts((16, 30), spread, count=2 * MIN_POSTS), now) is None
    assert drift([*posts((0, 14), spread), *posts((23, 30), spread, count=MIN_POSTS - 1)], now) is None


def test_enough_new_labels_are_a_reason_and_too_few_forbid_any():
    missing = rate(90, 100)
    assert due(Situation(500), Bounds()) == ["500 new labels"]
    assert due(Situation(499), Bounds()) == []
    assert due(Situation(49, missed=missing), Bounds()) == []
    [reason] = due(Situation(50, missed=missing), Bounds())
    assert reason.startswith("misses 90.0%")


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_rate_is_a_reason_only_when_its_whole_interval_is_above_the_bound(count, more):
    found = rate(count, count + more)
    for situation in (Situation(100, missed=found), Situation(100, overturned=found)):
        bound = Bounds().miss_rate if situation.missed is found else Bounds().overturn_rate
        assert bool(due(situation, Bounds())) == (found is not None and found.low > bound)


@pytest.mark.parametrize("values", [{"fewest_labels": 0}, {"new_labels": 10}, {"miss_rate": 0}, {"overturn_rate": 1.1}, {"drift": 0}])
def test_bounds_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match="must"):
        Bounds(**values)


def test_the_newest_model_is_looked_at(store):
    store.add([review("一", BAD, created_at=at(1), model_version="old"), review("二", BAD, created_at=at(2), model_version="new")])
    store.add_feedback(said("二", GOOD))
    store.save_answers(
        [answer("三", "甲", BAD, Purpose.RANDOM, model_version="new"), answer("四", "甲", BAD, Purpose.RANDOM, model_version="old")]
    )
    found = look(store, ALONE, 7, datetime.now(UTC))
    assert (found.new_labels, found.missed.total, found.overturned.count, found.overturned.total, found.drift) == (7, 1, 1, 1, None)


def test_an_empty_store_gives_no_reason(store):
    assert Rules().reasons(store, 60) == []
