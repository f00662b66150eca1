import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import AnswerError, TaskError
from annotation.tasks import asked, choice, to_answer, to_task, utc
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.text import normalise, text_id
from semantic_service.contract.verdict import Hit, Suggestion
from tests.reviewed import review
from tests.strategies import any_text

UPDATED = "2026-01-02T03:04:05.678900Z"
probabilities = st.tuples(*[st.floats(0, 1)] * 3)


def answered(task, result, **changes):
    annotation = {"id": 7, "result": result, "updated_at": UPDATED, "lead_time": 2.5}
    return to_answer({"id": 3} | task, annotation | changes, "somebody")


@given(
    text=any_text.filter(lambda text: normalise(text).text),
    shares=probabilities,
    label=st.sampled_from(Label),
    given=st.sampled_from([*Label, None]),
    purpose=st.sampled_from(Purpose),
)
def test_what_was_asked_and_answered_comes_back(text, shares, label, given, purpose):
    post = Review(text, shares, label, Suggestion.REVIEW, "tiny-1", UPDATED, is_uncertain=True)
    answer = answered(to_task(post, purpose), [choice(given)])
    assert (answer.text_id, answer.label, answer.purpose) == (post.text_id, given, purpose)
    assert (answer.model_label, answer.model_version, answer.confidence) == (label, "tiny-1", max(shares))
    assert (answer.annotation_id, answer.task_id, answer.annotator, answer.seconds) == (7, 3, "somebody", 2.5)
    assert answer.updated_at == "2026-01-02T03:04:05.678900+00:00"


@given(any_text.filter(lambda text: normalise(text).text), st.sampled_from(Purpose))
def test_a_task_can_be_sent_and_stored_anywhere(text, purpose):
    task = to_task(review(text), purpose)
    assert "\x00" not in task["data"]["text"] + task["data"]["html"]
    str(task).encode()  # no lone surrogate


def test_a_text_is_asked_about_once_for_each_purpose():
    disguised = ["来赌一把", "来 赌 一 把".replace(" ", "\u200b"), "来赌一把\u3000"]
    ids = {to_task(review(text), purpose)["data"]["ext_id"] for text in disguised for purpose in Purpose}
    assert len(ids) == len(Purpose)
    assert {asked(ext_id) for ext_id in ids} == {(text_id("来赌一把"), purpose) for purpose in Purpose}


@pytest.mark.parametrize("purpose", [Purpose.RANDOM, Purpose.ADJUDICATION])
def test_where_people_judge_by_themselves_nothing_of_the_models_is_shown(purpose):
    task = to_task(review("来赌一把", hits=(Hit("赌", "deny", 1, 2),)), purpose)
    shown = task["data"]["guess"] + task["data"]["html"] + task["data"]["scene_line"]
    assert not [label for label in Label if label.chinese in shown]
    assert "<mark" not in shown
    assert task["predictions"][0]["result"] == []


def test_a_gold_post_looks_like_an_uncertain_one():
    gold, uncertain = (to_task(review("来赌一把"), purpose)["data"] for purpose in (Purpose.GOLD, Purpose.UNCERTAIN))
    assert [gold[key] for key in ("scene_line", "guess", "html")] == [uncertain[key] for key in ("scene_line", "guess", "html")]


def test_the_least_sure_comes_first_and_the_rest_among_the_unsure():
    def score(purpose, **changes):
        return to_task(review("来赌一把", **changes), purpose)["predictions"][0]["score"]

    assert score(Purpose.UNCERTAIN) == 0.5
    assert all(0 <= score(purpose) < 0.5 for purpose in Purpose if purpose is not Purpose.UNCERTAIN)


@pytest.mark.parametrize("text", ["", " \n", "\u200b\u200d", "\x00"])
def test_a_post_with_nothing_to_see_is_no_task(text):
    with pytest.raises(TaskError, match="nothing that can be seen"):
        to_task(review(text), Purpose.UNCERTAIN)


@pytest.mark.parametrize("share", [math.nan, math.inf, -0.1, 1.1])
def test_a_share_that_is_none_is_no_task(share):
    post = Review("来赌一把", (share, 0.5, 0.5), Label.SUSPICIOUS, Suggestion.REVIEW, "tiny-1", UPDATED, is_uncertain=True)
    with pytest.raises(TaskError, match="from 0 to 1"):
        to_task(post, Purpose.UNCERTAIN)


OTHER = {"from_name": "other", "to_name": "post", "type": "choices", "value": {"choices": ["violation"]}}


@pytest.mark.parametrize(
    "result",
    [
        [],
        [OTHER],
        [choice(Label.VIOLATION), choice(Label.COMPLIANT)],
        [choice(Label.VIOLATION) | {"value": {"choices": ["harmless"]}}],
        [choice(Label.VIOLATION) | {"value": {}}],
        None,
        [{}],
    ],
)
def test_an_annotation_without_one_of_our_labels_is_no_answer(result):
    with pytest.raises(AnswerError, match="annotation 7 of task 3"):
        answered(to_task(review("来赌一把"), Purpose.UNCERTAIN), result)


def test_parts_of_others_beside_the_label_are_left_alone():
    assert answered(to_task(review("来赌一把"), Purpose.UNCERTAIN), [OTHER, choice(Label.COMPLIANT)]).label is Label.COMPLIANT


@pytest.mark.parametrize("data", [{}, {"text": "x"}, None])
def test_a_task_of_others_holds_no_answer(data):
    with pytest.raises(AnswerError):
        answered({"data": data}, [choice(Label.COMPLIANT)])


def test_moments_sort_as_texts():
    moments = ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000001+00:00", "2026-01-02T11:04:06+08:00"]
    assert sorted(map(utc, moments), key=str) == list(map(utc, moments))
