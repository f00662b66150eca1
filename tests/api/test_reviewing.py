"""What the service keeps for people to look at, and what it takes from them."""

import hashlib
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.api.reviewing import Archive
from semantic_service.api.security import Keys, Scope
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import FeedbackKind
from semantic_service.contract.text import text_id
from semantic_service.contract.verdict import Suggestion
from semantic_service.engine.workers import Workers
from semantic_service.store.spill import Spill
from semantic_service.store.store import Store
from tests.api.answers import error_of
from tests.api.test_metrics import value
from tests.deadline import until

UNSURE = "中"  # 1/3, 1/3, 1/3
SURE = "今天天气真好"
CORRECTION = {"kind": "correction", "label": "compliant"}


@pytest.fixture
def archive(tmp_path):
    return Archive(f"sqlite:///{tmp_path}/var/moderation.db", tmp_path / "spill.jsonl", audit_share=0.0)


@pytest.fixture
def keeping(serve, archive):
    client = serve(archive=archive)
    until(lambda: client.app.state.service.reviewing.keeper._store)
    return client


@pytest.fixture
def away(serve, tmp_path):
    """A service whose database can't be reached."""
    return serve(archive=Archive(f"postgresql:///moderation?host={tmp_path}", tmp_path / "spill.jsonl", audit_share=1.0))


def kept(client):
    return sum(value(client, "moderation_review_store_total", result=result) for result in ("stored", "known", "spilled"))


def reviews(archive):
    with closing(Store.open(archive.url)) as store:
        return list(store.reviews())


def said(archive):
    with closing(Store.open(archive.url)) as store:
        return store.feedback()


def test_an_uncertain_post_is_kept_with_its_verdict_and_a_sure_one_is_not(keeping, archive):
    for text in (SURE, UNSURE):
        keeping.post("/classify", json={"text": text, "scene": "kids", "data_id": "post-42"}, headers={"X-Request-ID": f"r-{len(text)}"})
    until(lambda: kept(keeping) == 1)
    [review] = reviews(archive)
    assert (review.text, review.scene, review.data_id, review.request_id) == (UNSURE, "kids", "post-42", "r-1")
    assert (review.is_uncertain, review.is_audit, review.model_version) == (True, False, "tiny-1")
    assert (review.label, review.suggestion) == (Label.VIOLATION, Suggestion.REVIEW)
    assert review.probabilities == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert review.created_at.endswith("+00:00")


def test_posts_are_drawn_for_the_audit_whatever_the_verdict(serve, archive, monkeypatch):
    draws = iter([0.009, 0.01, 0.5, 0.0])
    monkeypatch.setattr("random.random", lambda: next(draws))
    client = serve(archive=Archive(archive.url, archive.spill_file, audit_share=0.01))
    for text in ("一", "二", UNSURE, "四"):
        client.post("/classify", json={"text": text})
    until(lambda: kept(client) == 3)
    assert {(review.text, review.is_audit, review.is_uncertain) for review in reviews(archive)} == {
        ("一", True, False),
        (UNSURE, False, True),
        ("四", True, False),
    }


def test_the_posts_of_a_batch_are_kept_but_its_request_id_names_none_of_them(keeping, archive):
    items = [{"text": UNSURE, "data_id": "a"}, {"text": SURE}, {"text": ""}, {"text": f"{UNSURE} {UNSURE}", "data_id": "b"}]
    keeping.post("/classify/batch", json={"items": items}, headers={"X-Request-ID": "of-the-batch"})
    until(lambda: kept(keeping) == 2)
    assert {(review.data_id, review.request_id) for review in reviews(archive)} == {("a", None), ("b", None)}


def test_a_correction_of_an_earlier_request_finds_its_text(keeping, archive):
    keeping.post("/classify", json={"text": UNSURE}, headers={"X-Request-ID": "r-7"})
    until(lambda: kept(keeping) == 1)
    answer = keeping.post("/feedback", json=CORRECTION | {"request_id": "r-7", "note": "没问题", "by": "mod-1"})
    assert (answer.status_code, answer.json()) == (200, {"text_id": text_id(UNSURE), "result": "stored"})
    [feedback] = said(archive)
    assert (feedback.text_id, feedback.request_id, feedback.text) == (text_id(UNSURE), "r-7", None)
    assert (feedback.kind, feedback.label, feedback.note, feedback.by) == (FeedbackKind.CORRECTION, Label.COMPLIANT, "没问题", "mod-1")


def test_an_appeal_may_bring_its_text_and_needs_no_label(keeping, archive):
    answer = keeping.post("/feedback", json={"kind": "appeal", "text": SURE, "request_id": "unknown"})
    assert answer.json() == {"text_id": text_id(SURE), "result": "stored"}
    [feedback] = said(archive)
    assert (feedback.kind, feedback.label, feedback.text, feedback.request_id) == (FeedbackKind.APPEAL, None, SURE, "unknown")


def test_a_request_that_is_not_in_the_store_needs_the_text(keeping, archive):
    answer = keeping.post("/feedback", json=CORRECTION | {"request_id": "unknown"})
    assert error_of(answer, 404) == "not_found"
    assert "send the text too" in answer.json()["error"]["message"]
    assert said(archive) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (CORRECTION, "send the request_id of the verdict, the text, or both"),
        ({"kind": "correction", "text": SURE}, "a correction needs the label that is right"),
        ({"kind": "praise", "text": SURE}, "kind"),
        (CORRECTION | {"text": SURE, "label": "nice"}, "label"),
        (CORRECTION | {"text": SURE, "note": "x" * 2001}, "note"),
        (CORRECTION | {"text": SURE, "notes": ""}, "notes"),
        (CORRECTION | {"text": SURE, "request_id": ""}, "request_id"),
        (CORRECTION | {"text": SURE, "request_id": 7}, "request_id"),
    ],
)
def test_a_feedback_that_says_too_little_or_too_much_is_refused(keeping, archive, body, reason):
    answer = keeping.post("/feedback", json=body)
    assert error_of(answer, 422) == "invalid_field"
    assert reason in answer.json()["error"]["message"]
    assert SURE not in answer.text
    assert said(archive) == []


@pytest.mark.parametrize("text", ["", "\u200b", "\x00"])
def test_a_feedback_about_nothing_is_refused(keeping, text):
    assert error_of(keeping.post("/feedback", json=CORRECTION | {"text": text}), 422) == "empty_text"


def test_while_the_database_is_away_everything_waits_on_the_disk(away, tmp_path):
    assert away.post("/classify", json={"text": SURE}).json()["label"] == "compliant"
    answer = away.post("/feedback", json=CORRECTION | {"text": SURE})
    assert answer.json() == {"text_id": text_id(SURE), "result": "spilled"}
    until(lambda: value(away, "moderation_review_store_total", result="spilled") == 2)
    assert value(away, "moderation_review_spill_bytes") == Spill(tmp_path / "spill.jsonl").size_bytes > 0


def test_while_the_database_is_away_a_request_can_not_be_looked_up(away, tmp_path):
    answer = away.post("/feedback", json=CORRECTION | {"request_id": "r-7"})
    assert error_of(answer, 503) == "no_store"
    assert str(tmp_path) not in answer.text


def test_a_feedback_that_nothing_can_keep_is_refused(serve, tmp_path):
    client = serve(archive=Archive(f"postgresql:///moderation?host={tmp_path}", tmp_path, audit_share=1.0))
    assert error_of(client.post("/feedback", json=CORRECTION | {"text": SURE}), 503) == "no_store"
    assert client.post("/classify", json={"text": SURE}).status_code == 200
    until(lambda: value(client, "moderation_review_store_total", result="failed") == 2)


def test_without_a_store_nothing_is_counted_and_feedback_is_refused(client):
    assert error_of(client.post("/feedback", json=CORRECTION | {"text": SURE}), 503) == "no_store"
    assert "moderation_review_store_total{" not in client.get("/metrics").text


def test_what_becomes_of_reviews_is_counted_from_0(keeping):
    families = text_string_to_metric_families(keeping.get("/metrics").text)
    counts = {sample.labels["result"]: sample.value for family in families for sample in family.samples if "store_total" in sample.name}
    assert counts == dict.fromkeys(["stored", "known", "spilled", "replayed", "dropped", "failed"], 0)


def test_feedback_needs_the_scope_review(live, archive):
    def digest(key):
        return hashlib.sha256(key.encode()).hexdigest()

    keys = Keys({digest("forum"): frozenset({Scope.CLASSIFY, Scope.ADMIN}), digest("moderator"): frozenset({Scope.REVIEW})})
    with TestClient(create_app(live, Workers(threads=1, bound=8), keys, archive=archive)) as client:
        body = CORRECTION | {"text": SURE}
        assert client.post("/feedback", json=body).status_code == 401
        assert client.post("/feedback", json=body, headers={"X-API-Key": "forum"}).status_code == 403
        assert client.post("/feedback", json=body, headers={"X-API-Key": "moderator"}).status_code == 200


def test_what_waits_when_the_service_stops_is_written_first(live, archive):
    with TestClient(create_app(live, Workers(threads=1, bound=8), archive=archive)) as client:
        for number in range(5):
            client.post("/classify", json={"text": UNSURE * (number + 1)})
    with closing(Store.open(archive.url)) as store:
        Spill(archive.spill_file).replay(store)
    assert {review.text for review in reviews(archive)} == {UNSURE, UNSURE * 2, UNSURE * 3}  # runs are cut to three: the rest is known
