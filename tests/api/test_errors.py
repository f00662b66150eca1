import asyncio
import gc
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from starlette.testclient import TestClient

from semantic_service.api import afterwards, service
from semantic_service.api.app import create_app
from semantic_service.api.caller import DeadlineError
from semantic_service.api.errors import RETRY_AFTER_S
from semantic_service.api.middleware import JsonFormatter
from semantic_service.api.service import Service
from semantic_service.contract.text import NormalisedText
from semantic_service.contract.verdict import Policy
from semantic_service.engine import workers
from semantic_service.engine.lanes import Job
from semantic_service.engine.live import Reload
from semantic_service.engine.workers import BURST, QueueFullError, Workers
from tests.api.answers import error_of
from tests.api.test_bad_input import JUDGED, REFUSED
from tests.deadline import until

PATIENCE_S = 10  # a test that waits longer has failed
SECRET = "我的秘密手机号一三八"


class BlockingModerator:
    """Judges once the gate is open."""

    policy, model_version = Policy(), "tiny-1"

    def __init__(self, moderator):
        self._moderator = moderator
        self.entered, self.gate = threading.Event(), threading.Event()
        self.scored = 0
        self.key, self.decide = moderator.key, moderator.decide

    def prepare(self, texts):
        return partial(self.score_all, texts)

    def score_all(self, texts):
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        self.scored += len(texts)
        return self._moderator.score_all(texts)


class FailingModerator:
    """Fails, and quotes the user's text while it does."""

    policy, model_version = Policy(), "tiny-1"

    def key(self, text):
        return text.text.encode()

    def prepare(self, texts):
        return partial(self.score_all, texts)

    def score_all(self, texts):
        raise RuntimeError(f"can't score {texts!r}")


class OnceFailingLive:
    """Fails when the policy is looked at for the first time."""

    def __init__(self, live):
        self.bundle = live.bundle
        self.moderator = live.moderator
        self.looks = 0
        self.looked_again = threading.Event()

    def refresh_policy(self):
        self.looks += 1
        if self.looks == 1:
            raise RuntimeError("nobody foresaw this")
        self.looked_again.set()

    def refresh_model(self, *, again):
        assert not again
        return Reload.UNCHANGED


@pytest.fixture
def blocking(moderator):
    fake = BlockingModerator(moderator)
    yield fake
    fake.gate.set()


@pytest.fixture
def log_lines(caplog):
    """Everything logged so far, as the service writes it."""
    caplog.set_level(logging.DEBUG)
    return lambda: [JsonFormatter().format(record) for record in caplog.records]


def follow_up(client):
    """Have done what no answer waits for, log lines among it."""
    client.get("/metrics")


def own(lines):
    return [entry for line in lines if (entry := json.loads(line))["logger"].startswith("semantic_service")]


@pytest.mark.parametrize("path", ["/nowhere", "/classify/batch/more", "/live/", "/%00", "/docs2", "/redoc", "/static-offline-docs/nothing"])
def test_an_unknown_path_is_404_in_the_one_shape(client, path):
    assert error_of(client.get(path, follow_redirects=False), 404) == "not_found"


@pytest.mark.parametrize(("method", "path"), [("GET", "/classify"), ("PUT", "/classify/batch"), ("POST", "/ready"), ("DELETE", "/")])
def test_another_method_is_405_in_the_one_shape_and_says_which_is_allowed(client, method, path):
    response = client.request(method, path)
    assert error_of(response, 405) == "method_not_allowed"
    assert response.headers["Allow"] == ("POST" if "classify" in path else "GET")


@pytest.mark.parametrize("sent", ["a", "5f2c-42", "~!@#", "x" * 128])
@pytest.mark.parametrize("body", [{"text": "好"}, {"text": ""}])
def test_the_callers_request_id_comes_back(client, sent, body):
    response = client.post("/classify", json=body, headers={"X-Request-ID": sent})
    answer = response.json()
    assert response.headers.get_list("X-Request-ID") == [sent]
    assert answer.get("error", answer)["request_id"] == sent


@pytest.mark.parametrize("sent", ["", " ", "a b", "a\nb", "a\r\nSet-Cookie: b", "x" * 129, "é", "编号", "\x7f", "a\0"])
def test_a_hostile_request_id_is_replaced(client, sent):
    response = client.post("/classify", json={"text": "好"}, headers={"X-Request-ID": sent.encode()})
    assert response.status_code == 200
    assert len(response.headers["X-Request-ID"]) == 32
    assert "Set-Cookie" not in response.headers


def test_every_request_gets_an_id_of_its_own(client):
    assert len({client.get("/live").headers["X-Request-ID"] for _ in range(5)}) == 5


def test_a_full_queue_is_429_with_a_time_to_come_back(serve, blocking):
    client = serve(blocking, bound=1)
    with ThreadPoolExecutor(1) as caller:
        first = caller.submit(client.post, "/classify", json={"text": "来赌一把"})
        assert blocking.entered.wait(PATIENCE_S)
        refused = client.post("/classify", json={"text": "好"})
        assert error_of(refused, 429) == "overloaded"
        assert refused.headers["Retry-After"] == str(RETRY_AFTER_S)
        assert client.get("/live").status_code == client.get("/ready").status_code == 200
        blocking.gate.set()
        assert first.result(PATIENCE_S).json()["label"] == "violation"
    assert client.post("/classify", json={"text": "好"}).status_code == 200


@pytest.fixture
def garbage():
    """Give what is in reference cycles, so that only the collector can free it, which holds up every answer."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found():
        gc.collect()
        return [thing for thing in gc.garbage if isinstance(thing, NormalisedText | Job | QueueFullError | DeadlineError)]

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def test_neither_answers_nor_refusals_leave_a_text_to_the_collector(serve, blocking, garbage, monkeypatch):
    monkeypatch.setattr(workers, "FRESH_S", PATIENCE_S)
    client = serve(blocking, threads=1)
    judging = client.app.state.service.workers
    judging._text_s, judging._max_wait_s = 10.0, 0.0  # no more than a burst may wait
    with ThreadPoolExecutor(2 * BURST) as callers:
        asked = [callers.submit(client.post, "/classify", json={"text": f"第{number}楼"}) for number in range(2 * BURST)]
        until(lambda: sum(one.done() for one in asked) > BURST)  # have been refused, some of them when they had waited
        blocking.gate.set()
    assert {one.result().status_code for one in asked} == {200, 429}
    assert not garbage()


def test_a_deadline_leaves_no_text_to_the_collector(serve, blocking, garbage):
    client = serve(blocking, threads=1)
    late = client.post("/classify", json={"text": "来赌一把"}, headers={"X-Request-Timeout-Ms": "20"})
    assert error_of(late, 504) == "deadline"
    blocking.gate.set()
    assert client.post("/classify", json={"text": "好"}).status_code == 200
    assert not garbage()


def test_a_batch_that_does_not_fit_is_refused_whole(serve):
    client = serve(bound=1)
    assert error_of(client.post("/classify/batch", json={"items": [{"text": "好"}, {"text": "坏"}]}), 429) == "overloaded"
    assert client.post("/classify/batch", json={"items": [{"text": "好"}]}).status_code == 200


@pytest.mark.parametrize(
    ("route", "body"), [("/classify", {"text": SECRET}), ("/classify/batch", {"items": [{"text": SECRET}, {"text": "好"}]})]
)
def test_an_unknown_error_is_told_by_its_id_and_never_by_the_text(serve, log_lines, route, body):
    client = serve(FailingModerator())
    response = client.post(route, json=body, headers={"X-Request-ID": "call-7"})
    assert response.status_code == 500
    assert response.json() == {
        "error": {"code": "internal", "message": "internal error; the log has it under this request id", "request_id": "call-7"}
    }
    assert response.headers["X-Request-ID"] == "call-7"
    follow_up(client)
    lines = log_lines()
    [failure] = [entry for entry in own(lines) if entry["level"] == "error"]
    assert (failure["request_id"], failure["error"]) == ("call-7", "RuntimeError")
    assert any("in score" in frame for frame in failure["traceback"])
    assert not any(SECRET in line for line in lines)


def test_no_line_of_the_log_holds_a_users_text(client, log_lines):
    bodies = [body for body, _ in REFUSED.values() if len(body) < 10_000]
    bodies += [json.dumps({"text": SECRET + text, "data_id": SECRET}).encode() for text in JUDGED.values()]
    bodies += [
        json.dumps(body, ensure_ascii=False).encode()
        for body in ({SECRET: 1}, [SECRET], {"text": [SECRET]}, {"text": "好", "scene": SECRET})
    ]
    bodies += [SECRET.encode(), SECRET.encode("gbk"), json.dumps({"items": [SECRET, {"text": SECRET}, {SECRET: SECRET}]}).encode()]
    for body in bodies:
        for route in ("/classify", "/classify/batch"):
            client.post(route, content=body, headers={"Content-Type": "application/json", "X-Request-ID": "watched"})
    client.get(f"/{SECRET}", headers={"X-Request-ID": "watched"})
    follow_up(client)
    lines = log_lines()
    assert (
        len([entry for entry in own(lines) if (entry["message"], entry.get("request_id")) == ("request", "watched")]) == 2 * len(bodies) + 1
    )
    traces = [SECRET, json.dumps(SECRET)[1:-1], *(text for text in JUDGED.values() if len(text) > 1)]
    assert not [line for line in lines for trace in traces if trace in line and '"httpx' not in line]


def test_a_request_is_logged_with_what_an_operator_needs(client, log_lines):
    client.post("/classify", json={"text": "来赌一把"}, headers={"X-Request-ID": "call-8"})
    follow_up(client)
    [entry] = [entry for entry in own(log_lines()) if entry.get("request_id") == "call-8"]
    assert entry == entry | {
        "level": "info",
        "message": "request",
        "request_id": "call-8",
        "route": "/classify",
        "status": 200,
        "chars": 4,
        "label": "violation",
        "suggestion": "block",
        "model_version": "tiny-1",
    }
    assert entry["seconds"] > 0


def test_what_no_answer_has_waited_for_is_done_before_the_service_stops(live, log_lines, monkeypatch):
    monkeypatch.setattr(afterwards, "PAUSE_S", 10 * PATIENCE_S)
    with TestClient(create_app(live, Workers(threads=1, bound=1))) as client:
        client.post("/classify", json={"text": "好"}, headers={"X-Request-ID": "last"})
        assert not [entry for entry in own(log_lines()) if entry.get("request_id") == "last"]
    assert [entry["status"] for entry in own(log_lines()) if entry.get("request_id") == "last"] == [200]


def test_the_policy_is_watched_on_after_an_unknown_error(live, log_lines, monkeypatch):
    monkeypatch.setattr(service, "POLL_S", 0.001)
    once = OnceFailingLive(live)
    workers = Workers(threads=1, bound=1)

    async def watch():
        watching = asyncio.create_task(Service(once, workers).watch())
        waiting = asyncio.create_task(asyncio.to_thread(once.looked_again.wait, PATIENCE_S))
        await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
        once.looked_again.set()
        watching.cancel()
        await asyncio.gather(watching, waiting, return_exceptions=True)

    asyncio.run(watch())
    workers.close()
    assert once.looks > 1
    assert any(entry["level"] == "error" for entry in own(log_lines()))
