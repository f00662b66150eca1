import pytest

from annotation.errors import ServiceError
from annotation.service import ATTEMPTS, MAX_CHARS, MAX_POSTS, Post, Service
from semantic_service.contract.labels import Label
from semantic_service.contract.verdict import Decider, Hit, Suggestion
from tests.annotation.scripted import scripted
from tests.served import LOOPBACK, free_port


@pytest.fixture
def pauses():
    return []


def judge(url, posts, pauses, key=None):
    with Service(url, key, pauses.append) as service:
        return list(service.judge(posts))


def test_a_verdict_becomes_a_review(pauses):
    with scripted() as state:
        (review,) = judge(state.url, [Post("领彩金", "game", "post-1")], pauses, key="secret")
    assert (review.text, review.scene, review.data_id, review.request_id) == ("领彩金", "game", "post-1", "r-1")
    assert (review.label, review.suggestion, review.decided_by) == (Label.VIOLATION, Suggestion.REVIEW, Decider.LEXICON)
    assert (review.probabilities, review.is_uncertain, review.model_version) == ((0.1, 0.3, 0.6), True, "m-2")
    assert review.hits == (Hit("彩金", "deny", 1, 3),)
    assert not review.is_audit
    items, headers = state.asked[0]
    assert items == [{"text": "领彩金", "scene": "game", "data_id": "post-1"}]
    assert headers["X-API-Key"] == "secret"


def test_many_posts_go_in_requests_that_the_service_takes_and_come_back_in_order(pauses):
    posts = [Post("长" * 100_000, data_id=str(number)) for number in range(4)] + [
        Post("短", data_id=str(number)) for number in range(4, 600)
    ]
    with scripted() as state:
        reviews = judge(state.url, posts, pauses)
    assert [review.data_id for review in reviews] == [post.data_id for post in posts]
    assert all(len(items) <= MAX_POSTS and sum(len(item["text"]) for item in items) <= MAX_CHARS for items, _ in state.asked)


def test_a_post_that_cannot_be_judged_spoils_no_other(pauses):
    with scripted(bad_texts={"坏"}) as state:
        bad, good = judge(state.url, [Post("坏"), Post("\ud800好")], pauses)
    assert bad == "the service can't judge it (text_too_long)"
    assert good.text == "\ud800好"


def test_an_overloaded_service_is_asked_again_when_it_says(pauses):
    with scripted(statuses=[503, 429], headers={"Retry-After": "7"}) as state:
        assert len(judge(state.url, [Post("好")], pauses)) == 1
    assert pauses == [7, 7]


def test_a_service_that_stays_overloaded_is_given_up_with_longer_and_longer_pauses(pauses):
    with scripted(statuses=[502] * ATTEMPTS) as state, pytest.raises(ServiceError, match="answers 502: it may be overloaded"):
        judge(state.url, [Post("好")], pauses)
    assert pauses == [1, 2, 4, 8, 16]


def test_where_nobody_listens_the_error_says_how_to_start_the_service(pauses):
    with pytest.raises(ServiceError, match="python -m semantic_service"):
        judge(f"http://{LOOPBACK}:{free_port()}", [Post("好")], pauses)
    assert len(pauses) == ATTEMPTS - 1


@pytest.mark.parametrize(("status", "said"), [(401, "key"), (403, "scope classify"), (404, "is it the moderation service"), (500, "500")])
def test_what_another_attempt_would_not_mend_is_said_at_once(pauses, status, said):
    with scripted(statuses=[status]) as state, pytest.raises(ServiceError, match=said):
        judge(state.url, [Post("好")], pauses)
    assert pauses == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_another_server_is_not_taken_for_the_service(pauses, body):
    with scripted(body=body) as state, pytest.raises(ServiceError, match="is it the moderation service"):
        judge(state.url, [Post("好")], pauses)


def test_an_address_that_is_none_is_said_to_be(pauses):
    with pytest.raises(ServiceError, match="does not answer"):
        judge("no-address", [Post("好")], pauses)
