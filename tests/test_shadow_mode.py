"""A challenger beside a real server: nobody's answer changes, and what it sees differently arrives."""

import re
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException

import pytest
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.engine.live import Live, Source
from semantic_service.engine.workers import Workers
from tests.deadline import PATIENCE_S, until
from tests.served import LOOPBACK, serving
from tests.shadowed import build_challenger, lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

POSTS = [text + str(number) for number in range(20) for text in ("今天天气真好", "有点可疑的消息", "来赌一把")]
DISPUTED = [text for text in POSTS if "可疑" in text]


@pytest.fixture(scope="module")
def challenger(tmp_path_factory):
    return build_challenger(tmp_path_factory.mktemp("challenger") / "tiny-2").path


@pytest.fixture
def shadow(challenger, tmp_path):
    return {"shadow_model": challenger, "shadow_share": 1, "shadow_file": tmp_path / "var" / "shadow.jsonl"}


def answers(server):
    with ThreadPoolExecutor(4) as callers:
        given = list(callers.map(server.classify, POSTS))
    assert {status for status, _ in given} == {200}
    return [answer | {"request_id": ""} for _, answer in given]


def compared(server):
    with closing(HTTPConnection(LOOPBACK, server.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return {result: int(float(count)) for result, count in re.findall(r'moderation_shadow_total\{result="(\w+)"\} (\S+)', text)}


def kept(file):
    return Counter(row["text"] for row in lines(file)) if file.exists() else Counter()


def test_answers_stay_the_same_and_disagreements_arrive(tiny_bundle, shadow, tmp_path):
    with TestClient(create_app(Live(Source(tiny_bundle.path), None, 0.6), Workers(threads=1, bound=8))) as plain:
        expected = [plain.post("/classify", json={"text": text}).json() | {"request_id": ""} for text in POSTS]
    with serving(tiny_bundle.path, tmp_path, **shadow) as server:
        assert answers(server) == expected
        until(lambda: sum(compared(server).values()) == len(POSTS))
        assert compared(server) == {"agree": len(POSTS) - len(DISPUTED), "disagree": len(DISPUTED), "dropped": 0, "error": 0}
        assert server.stop() == 0
        assert not [line for line in server.log.read_text("utf-8").splitlines() if "消息" in line]
    assert kept(shadow["shadow_file"]) == Counter(DISPUTED)
    assert stat.S_IMODE(shadow["shadow_file"].stat().st_mode) == 0o600


def test_a_killed_server_leaves_whole_rows_and_the_next_one_goes_on_behind_them(tiny_bundle, shadow, tmp_path):
    file = shadow["shadow_file"]
    with serving(tiny_bundle.path, tmp_path, **shadow) as server, ThreadPoolExecutor(1) as caller:
        posted = caller.map(server.classify, DISPUTED * 50)
        until(lambda: kept(file))
        server.process.kill()
        with pytest.raises((OSError, HTTPException)):
            list(posted)
    before = file.read_bytes()
    with file.open("ab") as stream:
        stream.write(before[:20])  # as a kill within a write leaves it
    with serving(tiny_bundle.path, tmp_path, **shadow) as server:
        server.classify(DISPUTED[-1])
        until(lambda: file.read_bytes().endswith(b"\n") and kept(file)[DISPUTED[-1]])
    assert file.read_bytes().startswith(before)


def test_several_processes_keep_their_rows_in_one_file(tiny_bundle, shadow, tmp_path):
    with serving(tiny_bundle.path, tmp_path, workers=2, **shadow) as server:
        answers(server)
        until(lambda: kept(shadow["shadow_file"]) == Counter(DISPUTED))
        assert server.stop() == 0
