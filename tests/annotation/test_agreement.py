import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotation.agreement import cohen, fleiss, measure
from annotation.rates import rate
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.text import text_id
from tests.annotation.answers import BAD, GOOD, ODD, answer

ANSWERS = [GOOD, ODD, BAD, None]
pairs = st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from(ANSWERS)), max_size=40)


def opinions(rows):
    return [{f"person-{number}": label for number, label in enumerate(row)} for row in rows]


def pair(rows):
    return cohen(opinions(rows), [("person-0", "person-1")])


@given(pairs)
def test_cohens_kappa_is_one_alone_where_all_agree_and_unknown_where_nobody_had_a_choice(rows):
    found = pair(rows)
    if len({label for row in rows for label in row}) < 2:
        assert found is None
    else:
        assert found.posts == len(rows)
        assert -1 <= found.value <= 1
        assert (found.value == pytest.approx(1)) == all(one == other for one, other in rows)


@given(pairs)
def test_cohens_kappa_is_the_same_from_either_side(rows):
    one, other = pair(rows), pair([(second, first) for first, second in rows])
    assert (one is None) == (other is None)
    assert one is None or one.value == pytest.approx(other.value)


def test_cohens_kappa_of_his_own_table():
    table = {(GOOD, GOOD): 88, (GOOD, ODD): 14, (GOOD, BAD): 18, (ODD, GOOD): 10, (ODD, ODD): 40, (ODD, BAD): 10}
    table |= {(BAD, GOOD): 2, (BAD, ODD): 6, (BAD, BAD): 12}  # Cohen 1960, his first example: 0.492
    assert pair([row for row, times in table.items() for _ in range(times)]).value == pytest.approx(0.492, abs=5e-4)


# Fleiss 1971 rates 30 subjects by 6 raters; the table of 10 subjects, 14 raters and 5 categories is the one that textbooks work through.
TEXTBOOK = """0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7"""


def test_fleiss_kappa_of_the_textbook_table():
    counts = np.array([line.split() for line in TEXTBOOK.splitlines()], dtype=int)
    from annotation.agreement import _fleiss

    assert _fleiss(counts, np.ones((1, 10), dtype=int))[0] == pytest.approx(0.210, abs=5e-4)


rows_of_several = st.lists(st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=5), max_size=30)


@given(rows_of_several)
def test_fleiss_kappa_is_at_most_one_and_unknown_where_all_answers_are_one(rows):
    found = fleiss(opinions(rows))
    if len({label for row in rows for label in row}) < 2:
        assert found is None
    else:
        assert found.value <= 1 + 1e-9
        assert (found.value == pytest.approx(1)) == all(len(set(row)) == 1 for row in rows)
        assert (found.low is None) == (found.high is None)
        assert found.low is None or found.low <= found.high


@given(rows_of_several, st.sampled_from(list(Label)))
def test_a_labels_kappa_is_that_of_the_answers_with_all_others_made_one(rows, label):
    merged = [[BAD if answer == label else GOOD for answer in row] for row in rows]
    one, other = fleiss(opinions(rows), label), fleiss(opinions(merged), BAD)
    assert (one is None) == (other is None)
    assert one is None or one.value == pytest.approx(other.value)


def test_posts_that_one_person_answered_say_nothing():
    assert fleiss(opinions([[BAD], [GOOD]])) is None
    assert fleiss([]) is None


def test_the_interval_holds_the_value_and_narrows_with_more_posts():
    rows = [[GOOD, GOOD], [BAD, BAD], [GOOD, BAD], [ODD, ODD]]
    assert fleiss(opinions(rows)).low is None  # four posts say nothing of others
    few, many = fleiss(opinions(rows * 5)), fleiss(opinions(rows * 100))
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low


def test_everybody_is_measured_against_the_others_and_on_gold():
    gold = {text_id(f"gold-{number}"): BAD for number in range(10)}
    answers = [answer(f"gold-{number}", "甲", BAD if number else None, Purpose.GOLD) for number in range(10)]
    truth = [GOOD, ODD, BAD] * 10
    answers += [answer(f"post-{number}", "甲", label, seconds=float(number)) for number, label in enumerate(truth)]
    answers += [answer(f"post-{number}", "乙", label if number % 5 else GOOD) for number, label in enumerate(truth)]
    found = measure(answers, gold)
    first, second = sorted(found.annotators, key=lambda annotator: annotator.gold is None)
    assert (first.name, first.answers, first.cant_tell, first.seconds) == ("甲", 40, 1, 14.5)
    assert (first.gold.count, first.gold.total) == (9, 10)
    assert (second.gold, second.seconds) == (None, None)
    expected = cohen_kappa_score(truth, [label if number % 5 else GOOD for number, label in enumerate(truth)])
    assert first.kappa.value == pytest.approx(expected)
    assert [kappa.value for kappa in found.pairs.values()] == [pytest.approx(expected)]
    assert found.overall.posts == 30


def test_one_annotator_alone_has_no_agreement():
    found = measure([answer("帖子", "甲", BAD)], {})
    assert (found.overall, dict(found.pairs), found.annotators[0].kappa) == (None, {}, None)
    assert set(found.labels.values()) == {None}


def test_gold_and_adjudication_are_no_opinions_to_agree_on():
    answers = [answer("帖子", name, BAD, Purpose.GOLD) for name in "甲乙"] + [
        answer("另一", name, ODD, Purpose.ADJUDICATION) for name in "甲乙"
    ]
    assert measure(answers, {}).pairs == {("乙", "甲"): None}


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_rate_lies_in_its_interval_and_of_nothing_is_not_known(count, more):
    found = rate(count, count + more)
    if not count + more:
        assert found is None
    else:
        assert 0 <= found.low <= found.share + 1e-12
        assert found.share <= found.high + 1e-12 <= 1 + 1e-9


def test_wilsons_interval_of_a_known_case():
    found = rate(0, 10)
    assert (found.low, found.high) == (0, pytest.approx(0.2775, abs=1e-4))
