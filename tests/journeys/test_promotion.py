"""Promote, reload under load, break, roll back: with two workers no request fails, and every answer names a model that was live."""

import http.client
import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass

import pytest

from semantic_service.contract.registry import Registry
from tests.deadline import PATIENCE_S, until
from tests.served import serving
from tests.tiny_model import build_bundle
from training.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

REACH_S = 5.0  # from a promotion to every worker
CALLERS = 4
IN_A_ROW = 30  # answers on connections of their own, so that each of the two workers has given some
BODY = json.dumps({"text": "今天天气真好"})
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent and answered, its status and the version it names."""

    sent: float
    answered: float
    status: int
    version: str


@dataclass
class Reign:
    """From a version's promotion until its successor had reached every worker."""

    version: str
    since: float
    until: float = float("inf")

    def covers(self, answer):
        return self.version == answer.version and self.since <= answer.answered and answer.sent <= self.until


def ask(port):
    sent = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("POST", "/classify", BODY, HEADERS)
        response = connection.getresponse()
        answer = json.loads(response.read())
    return Answer(sent, time.monotonic(), response.status, answer.get("model_version", ""))


@pytest.fixture
def port(tmp_path):
    """A service of two workers that follows a registry; gives its port."""
    first = build_bundle(tmp_path / "v1", model_version="v1").path
    with serving(first, tmp_path, models=tmp_path / "models", workers=2) as server:
        yield server.port
        assert server.stop() == 0


@pytest.fixture
def load(port):
    """Callers that never stop asking; gives what they were answered so far."""
    seen, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            try:
                seen.append(ask(port))
            except (OSError, http.client.HTTPException) as error:
                seen.append(Answer(time.monotonic(), time.monotonic(), 0, repr(error)))

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    yield seen
    stop.set()
    for caller in callers:
        caller.join()


@pytest.fixture
def command(tmp_path):
    """Run `python -m training NAME` on the registry, with a gate of three posts."""
    gate = tmp_path / "gate.yaml"
    posts = tmp_path / "posts.jsonl"
    labelled = {"今天天气真好": "compliant", "疑有消息": "suspicious", "来赌一把": "violation"}
    posts.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in labelled.items()), encoding="utf-8")
    gate.write_text(f"test: [{posts}]\n", encoding="utf-8")

    def run(name, *arguments):
        where = ["--models", str(tmp_path / "models"), *(["--gate", str(gate)] if name == "promote" else [])]
        assert main([name, *where, *map(str, arguments)]) == 0

    return run


def test_models_come_and_go_under_load_without_a_failed_request(port, load, command, tmp_path):
    made = {version: build_bundle(tmp_path / version, model_version=version) for version in ("v2", "v3")}
    live = [Reign("v1", 0.0)]

    def takes_over(version, change):
        live.append(Reign(version, time.monotonic()))
        change()
        until(lambda: all(ask(port).version == version for _ in range(IN_A_ROW)), patience_s=REACH_S)
        live[-2].until = time.monotonic()

    takes_over("v2", lambda: command("promote", made["v2"].path, "--force", "--reason", "the first of our own"))
    takes_over("v3", lambda: command("promote", made["v3"].path))
    takes_over("v2", lambda: command("rollback", "--reason", "worse"))
    registry = Registry(tmp_path / "models")
    (registry.folder("v3") / "model.onnx").write_bytes(b"half a mod")
    (registry.path / "current").write_text("v3\n", encoding="utf-8")  # by hand, past the command's own check
    time.sleep(REACH_S)
    assert {ask(port).version for _ in range(IN_A_ROW)} == {"v2"}

    seen = list(load)
    assert len(seen) > 100
    assert {answer.status for answer in seen} == {200}, [answer for answer in seen if answer.status != 200][:3]
    wrong = [answer for answer in seen if not any(reign.covers(answer) for reign in live)]
    assert not wrong, wrong[:3]
