"""What is kept comes back, once, on SQLite and on PostgreSQL."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Feedback, FeedbackKind, Review
from semantic_service.contract.verdict import Decider, Hit, Suggestion
from semantic_service.store import store as stores
from tests.reviewed import at, review


def test_a_review_comes_back_as_it_was(store):
    whole = Review(
        text="加微信\n领彩金",
        probabilities=(0.1, 0.30000000000000004, 0.6),
        label=Label.VIOLATION,
        suggestion=Suggestion.BLOCK,
        model_version="tiny-1",
        created_at=at(1),
        is_uncertain=True,
        is_audit=True,
        scene="kids",
        decided_by=Decider.LEXICON,
        hits=(Hit("彩金", "deny", 5, 7),),
        request_id="r1",
        data_id="post-42",
    )
    assert store.add([whole]) == 1
    assert list(store.reviews()) == [whole]
    assert store.review("r1") == whole
    assert store.review("r2") is None


def test_the_same_text_under_the_same_model_is_kept_once(store):
    first = review("vip 在此", request_id="r1")
    assert store.add([first, replace(first, request_id="r2")]) == 1
    assert store.add([replace(first, text="ｖｉｐ　在此"), replace(first, model_version="tiny-2")]) == 1
    assert {(kept.model_version, kept.request_id) for kept in store.reviews()} == {("tiny-1", "r1"), ("tiny-2", "r1")}


def test_a_known_post_that_is_drawn_for_the_audit_becomes_an_audit_post_and_stays_one(store):
    known = review("好")
    for is_audit in (False, True, False):
        store.add([replace(known, is_audit=is_audit)])
    assert list(store.reviews()) == [replace(known, is_audit=True)]


def test_nothing_to_keep_is_no_trouble(store):
    assert (store.add([]), store.save_answers([])) == (0, 0)


@pytest.mark.parametrize("page", [1, 2, 3, 500])
def test_reviews_come_newest_first_whatever_the_page(store, monkeypatch, page):
    monkeypatch.setattr(stores, "PAGE_ROWS", page)
    posts = [review(f"第{number}楼", created_at=at(number // 2), model_version=f"tiny-{number % 2}") for number in range(6)]
    store.add(posts)
    assert [post.created_at for post in store.reviews()] == [at(2), at(2), at(1), at(1), at(0), at(0)]
    assert {post.text for post in store.reviews()} == {post.text for post in posts}
    assert {post.text for post in store.reviews(since=at(1))} == {post.text for post in posts[2:]}
    assert {post.text for post in store.reviews(since=at(1), model_version="tiny-1")} == {"第3楼", "第5楼"}


def test_reading_sees_no_post_twice_while_others_write(store, monkeypatch):
    monkeypatch.setattr(stores, "PAGE_ROWS", 2)
    store.add([review(f"第{number}楼", created_at=at(number)) for number in range(6)])
    seen = []
    for number, post in enumerate(store.reviews()):
        store.add([review(f"新{number}", created_at=at(10 + number))])
        seen.append(post.created_at)
    assert seen == [at(number) for number in range(5, -1, -1)]


def test_a_request_id_that_stands_for_several_texts_names_none_of_them(store):
    store.add([review("好", request_id="r1"), review("好", request_id="r1", model_version="tiny-2"), review("好的", request_id="r2")])
    assert store.review("r1").model_version == "tiny-2"
    store.add([review("坏", request_id="r1")])
    assert store.review("r1") is None


def test_feedback_comes_back_once_and_in_order(store):
    said = Feedback("0" * 16, FeedbackKind.CORRECTION, at(1), Label.COMPLIANT, "误判\n了", "r1", "mod-1", "好")
    bare = Feedback("0" * 16, FeedbackKind.APPEAL, at(0))
    for feedback in (said, bare, said):
        store.add_feedback(feedback)
    assert store.feedback() == [bare, said]
    assert store.feedback(since=at(1)) == [said]


def test_saving_answers_counts_what_is_new_or_changed(store):
    bare = Answer(7, 1, "好", "anna", None, Purpose.RANDOM, at(1))
    whole = Answer(2**40, 2, "坏", "ben", Label.VIOLATION, Purpose.UNCERTAIN, at(2), 3.25, "tiny-1", Label.SUSPICIOUS, 0.5)
    assert store.save_answers([whole, bare]) == 2
    assert store.save_answers([whole, bare]) == 0
    changed = replace(bare, label=Label.COMPLIANT, seconds=1.5)
    assert store.save_answers([whole, changed]) == 1
    assert store.answers() == [changed, whole]


def test_what_is_older_is_deleted_from_every_table(store):
    store.add([review("旧", created_at=at(1)), review("新", created_at=at(5))])
    for hour in (1, 5):
        store.add_feedback(Feedback("0" * 16, FeedbackKind.APPEAL, at(hour)))
    store.save_answers([Answer(hour, 1, "好", "anna", None, Purpose.GOLD, at(hour)) for hour in (1, 5)])
    assert store.delete_before(at(5)) == 3
    assert [post.text for post in store.reviews()] == ["新"]
    assert [feedback.created_at for feedback in store.feedback()] == [at(5)]
    assert [answer.annotation_id for answer in store.answers()] == [5]
    assert store.counts() == {"reviews": 1, "uncertain": 1, "audit": 0, "feedback": 1, "answers": 1}


# Every code point there is: PostgreSQL has no NUL, UTF-8 no lone surrogate.
any_characters = st.text(st.characters(exclude_categories=()) | st.sampled_from("\x00\ud800\udfff\u200b\u0301赌"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(text=any_characters, other=any_characters)
def test_any_text_is_kept_under_its_id_with_its_length(store, text, other):
    given_ = review(
        text, data_id=other, request_id=other, scene=other, model_version=f"v{len(other)}", hits=(Hit("x", "deny", 0, len(text)),)
    )
    store.add([given_])
    [kept] = [post for post in store.reviews(model_version=given_.model_version) if post.text_id == given_.text_id]
    store.delete_before(at(100))
    assert len(kept.text) == len(text)
    assert len(kept.data_id) == len(other)
    clean = text.replace("\x00", "\u200b").encode("utf-8", "replace").decode()
    assert [a for a, b in zip(kept.text, clean, strict=True) if b not in "?\u200b"] == [b for b in clean if b not in "?\u200b"]
