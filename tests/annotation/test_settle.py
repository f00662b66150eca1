import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.settle import Overlap, State, settle
from semantic_service.contract.answers import Purpose
from semantic_service.contract.records import Record
from semantic_service.contract.text import text_id
from tests.annotation.answers import BAD, GOOD, ODD, answer, at

ALONE, BOTH = Overlap(share=0), Overlap(share=1)


def outcome(overlap, *votes):
    """Settle one post that so many people have answered."""
    return settle([answer("帖子", f"person-{number}", label) for number, label in enumerate(votes)], overlap)


@pytest.mark.parametrize(
    ("overlap", "votes", "state", "label"),
    [
        (ALONE, [BAD], State.SETTLED, BAD),
        (ALONE, [None], State.UNDECIDED, None),
        (ALONE, [BAD, GOOD], State.DISPUTED, None),
        (BOTH, [BAD], State.WAITING, None),
        (BOTH, [BAD, BAD], State.SETTLED, BAD),
        (BOTH, [BAD, ODD], State.DISPUTED, None),
        (BOTH, [BAD, None], State.DISPUTED, None),
        (BOTH, [None, None], State.UNDECIDED, None),
        (BOTH, [BAD, GOOD, BAD], State.SETTLED, BAD),
        (BOTH, [BAD, GOOD, ODD], State.DISPUTED, None),
        (BOTH, [BAD, None, BAD], State.SETTLED, BAD),
        (BOTH, [None, None, BAD], State.UNDECIDED, None),
    ],
)
def test_more_than_half_of_the_votes_decide_once_enough_people_have_answered(overlap, votes, state, label):
    found = outcome(overlap, *votes)
    assert list(found.states.values()) == [state]
    assert [record.label for record in found.records] == ([] if label is None else [label])


def test_an_adjudicator_decides_whatever_the_others_said():
    answers = [answer("帖子", "甲", BAD), answer("帖子", "乙", GOOD)]
    assert settle(answers, BOTH).ids(State.DISPUTED) == (text_id("帖子"),)
    [record] = settle([*answers, answer("帖子", "丙", ODD, Purpose.ADJUDICATION)], BOTH).records
    assert (record.label, record.annotators, record.source) == (ODD, ("丙",), "annotation/uncertain")
    assert not settle([*answers, answer("帖子", "丙", None, Purpose.ADJUDICATION)], BOTH).records


def test_gold_posts_never_become_training_labels():
    found = settle([answer("帖子", "甲", BAD, Purpose.GOLD), answer("帖子", "乙", BAD, Purpose.GOLD)], ALONE)
    assert (found.records, dict(found.states)) == ((), {})


def test_a_later_answer_of_the_same_person_to_the_same_task_replaces_the_earlier():
    first, second = answer("帖子", "甲", BAD, updated_at=at(2)), answer("帖子", "甲", GOOD, updated_at=at(3))
    for answers in ([first, second], [second, first]):
        [record] = settle(answers, ALONE).records
        assert (record.label, record.created_at) == (GOOD, at(3))


def test_a_person_has_one_vote_however_many_tasks_held_the_text():
    answers = [answer("帖子", "甲", BAD), answer("帖子", "甲", BAD, Purpose.RANDOM)]
    assert list(settle(answers, BOTH).states.values()) == [State.WAITING]


def test_a_disguised_text_is_the_same_post():
    assert len(settle([answer("赌博", "甲", BAD), answer("赌\u200b博", "乙", BAD)], BOTH).records) == 1


def test_a_text_of_which_nothing_can_be_seen_is_never_settled():
    assert list(settle([answer("\u200b", "甲", GOOD)], ALONE).states.values()) == [State.UNDECIDED]


def test_a_record_says_who_when_why_and_what_the_model_had_thought():
    answers = [answer("帖子", "甲", BAD, Purpose.RANDOM, updated_at=at(5)), answer("帖子", "乙", BAD, Purpose.RANDOM, updated_at=at(9))]
    assert settle(answers, BOTH).records == (Record("帖子", BAD, "annotation/random", ("甲", "乙"), at(9), "v1", 0.5),)


def test_a_randomly_drawn_post_stays_one_though_it_was_uncertain_too():
    [record] = settle([answer("帖子", "甲", BAD), answer("帖子", "乙", BAD, Purpose.RANDOM)], BOTH).records
    assert record.source == "annotation/random"


def test_the_share_of_posts_for_several_people_is_kept():
    several = sum(Overlap(annotators=3, share=0.2).needed(text_id(str(number))) == 3 for number in range(2000))
    assert 330 < several < 470


@pytest.mark.parametrize("values", [{"annotators": 0}, {"share": 1.1}, {"share": -0.1}])
def test_an_overlap_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match="must be at least 1"):
        Overlap(**values)


given_answers = st.lists(
    st.builds(
        lambda text, person, label, purpose, minute: answer(text, person, label, purpose, updated_at=at(minute)),
        st.sampled_from("甲乙丙丁"),
        st.sampled_from("abc"),
        st.sampled_from([GOOD, ODD, BAD, None]),
        st.sampled_from(list(Purpose)),
        st.integers(0, 1000),
    ),
    max_size=12,
)


@given(given_answers, st.randoms(use_true_random=False), st.sampled_from([ALONE, BOTH, Overlap()]))
def test_the_order_of_the_answers_does_not_matter(answers, order: random.Random, overlap):
    shuffled = order.sample(answers, len(answers))
    one, other = settle(answers, overlap), settle(shuffled, overlap)
    assert dict(one.states) == dict(other.states)
    assert {record.id: record.label for record in one.records} == {record.id: record.label for record in other.records}


@given(given_answers, st.sampled_from([ALONE, BOTH]))
def test_every_settled_label_was_given_by_those_it_names(answers, overlap):
    found = settle(answers, overlap)
    assert {record.id for record in found.records} == set(found.ids(State.SETTLED))
    for record in found.records:
        assert record.annotators
        for name in record.annotators:
            assert any((one.annotator, one.label, one.text_id) == (name, record.label, record.id) for one in answers)
        assert record == Record.from_json(record.to_json())
