"""Callers that set a time, and callers that leave."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from semantic_service.api import caller, service
from semantic_service.api.app import create_app
from semantic_service.contract.text import normalise
from semantic_service.engine.workers import Workers
from tests.api.answers import error_of
from tests.api.test_errors import BlockingModerator
from tests.api.test_metrics import value
from tests.deadline import PATIENCE_S, until

POST = {"text": "来赌一把"}


@pytest.fixture
def blocking(moderator):
    fake = BlockingModerator(moderator)
    yield fake
    fake.gate.set()


@pytest.mark.parametrize("sent", ["0", "-5", "1.5", "soon", "", "3600001", "9" * 400])
@pytest.mark.parametrize(("path", "body"), [("/classify", POST), ("/classify/batch", {"items": [POST]})])
def test_a_time_that_is_no_positive_number_of_milliseconds_is_refused(client, path, body, sent):
    assert error_of(client.post(path, json=body, headers={"X-Request-Timeout-Ms": sent}), 422) == "invalid_field"


@pytest.mark.parametrize(("path", "body"), [("/classify", POST), ("/classify/batch", {"items": [POST]})])
def test_an_answer_within_the_time_is_like_any_other(client, path, body):
    assert client.post(path, json=body, headers={"X-Request-Timeout-Ms": "60000"}).status_code == 200


@pytest.mark.parametrize("texts", [1, 3])
def test_once_the_time_is_up_the_answer_is_504_and_nothing_that_waits_is_judged(serve, blocking, texts):
    client = serve(blocking, threads=1)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(client.post, "/classify", json=POST)
        assert blocking.entered.wait(PATIENCE_S)
        body = {"items": [{"text": f"第{number}楼"} for number in range(texts)]}
        late = client.post("/classify/batch", json=body, headers={"X-Request-Timeout-Ms": "20"})
        assert error_of(late, 504) == "deadline"
        blocking.gate.set()
        assert first.result(PATIENCE_S).json()["label"] == "violation"
    assert client.post("/classify", json={"text": "好"}).status_code == 200
    assert blocking.scored == 2


def test_time_that_is_up_before_anything_could_be_queued_is_504_too(client, monkeypatch):
    monkeypatch.setattr(service, "normalise", lambda text: time.sleep(0.03) or normalise(text))
    body = {"items": [{"text": f"第{number}楼"} for number in range(3)]}
    assert error_of(client.post("/classify/batch", json=body, headers={"X-Request-Timeout-Ms": "20"}), 504) == "deadline"


class Connection:
    """One request to the app itself, whose caller may leave."""

    def __init__(self, app, body):
        self._app = app
        self._asked = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])
        self._left = asyncio.Event()
        self.watched = asyncio.Event()
        self.sent = []

    def leave(self):
        self._left.set()

    async def _receive(self):
        if message := next(self._asked, None):
            return message
        self.watched.set()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)

    async def run(self):
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/classify", "query_string": b"", "headers": headers}
        await self._app(scope, self._receive, self._send)
        return self.sent[0]["status"]


@pytest.fixture
def app(live, blocking):
    workers = Workers(threads=1, bound=8)
    made = create_app(live, workers)
    made.state.service.live = FixedLive(blocking)
    yield made
    blocking.gate.set()
    workers.close()


class FixedLive:
    """Has one moderator."""

    def __init__(self, moderator):
        self.moderator = moderator


def test_a_post_whose_caller_has_left_is_not_judged(app, blocking):
    async def run():
        first, gone = Connection(app, POST), Connection(app, {"text": "好"})
        answered = asyncio.create_task(first.run())
        await asyncio.to_thread(blocking.entered.wait, PATIENCE_S)
        given_up = asyncio.create_task(gone.run())
        await asyncio.wait_for(gone.watched.wait(), PATIENCE_S)
        gone.leave()
        status = await asyncio.wait_for(given_up, PATIENCE_S)
        blocking.gate.set()
        return status, await answered

    assert asyncio.run(run()) == (503, 200)
    until(lambda: app.state.service.workers.is_idle)
    assert blocking.scored == 1


def test_nobody_is_watched_who_is_answered_at_once(app, blocking, monkeypatch):
    monkeypatch.setattr(caller, "PROMPT_S", PATIENCE_S)
    blocking.gate.set()

    async def run():
        connection = Connection(app, POST)
        return await connection.run(), connection.watched.is_set()

    assert asyncio.run(run()) == (200, False)


def test_a_caller_who_leaves_while_another_waits_for_the_same_text_spoils_nothing(app, blocking):
    async def run():
        first, second = Connection(app, POST), Connection(app, POST)
        gone, answered = (asyncio.create_task(each.run()) for each in (first, second))
        await asyncio.wait_for(asyncio.gather(first.watched.wait(), second.watched.wait()), PATIENCE_S)
        first.leave()
        status = await asyncio.wait_for(gone, PATIENCE_S)
        blocking.gate.set()
        return status, await answered

    assert asyncio.run(run()) == (503, 200)
    assert blocking.scored == 1


def test_a_text_that_comes_again_is_remembered_and_answered_alike(live):
    with TestClient(create_app(live, Workers(threads=1, bound=8), remembered=8)) as client:
        answers = [client.post("/classify", json=POST, headers={"X-Request-ID": "same"}).json() for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        assert value(client, "moderation_cache_total", result="hit") == 2
        assert value(client, "moderation_cache_total", result="miss") == value(client, "moderation_inference_seconds_count") == 1
        assert value(client, "moderation_judgements_total") == 3
