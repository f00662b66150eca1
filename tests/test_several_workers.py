"""A real server of two worker processes."""

import os
import re
import signal
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.deadline import PATIENCE_S, until
from tests.served import LOOPBACK, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ANSWERED = 'moderation_requests_total{route="/classify",status="200"}'


@pytest.fixture
def server(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(tiny_bundle.path, tmp_path, workers=2, cache_size=0) as started:
        until(lambda: len(pids(tmp_path)) == 2)
        yield started


def pids(folder):
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("moderation-metrics-*/counter_*.db")}


def metrics(server):
    with closing(HTTPConnection(LOOPBACK, server.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def count(server, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics(server), re.MULTILINE)
    return float(found[1]) if found else 0


def test_any_worker_tells_what_all_have_counted_and_the_dead_too(server, tmp_path):
    for number in range(100):
        assert server.classify(f"第{number}楼")[0] == 200
    until(lambda: count(server, ANSWERED) == 100)
    assert [count(server, ANSWERED) for _ in range(20)] == [100] * 20  # each a new connection, which either worker may take
    assert count(server, "moderation_inference_seconds_count") == 100
    first = pids(tmp_path)
    os.kill(min(first), signal.SIGKILL)
    until(lambda: pids(tmp_path) - first)
    until(lambda: metrics(server) and not list(tmp_path.glob(f"moderation-metrics-*/gauge_live*_{min(first)}.db")))
    assert server.classify("好")[0] == 200
    until(lambda: count(server, ANSWERED) == 101)
    assert count(server, 'moderation_model_info{version="tiny-1"}') == 1
    assert server.stop() == 0
    assert not list(tmp_path.glob("moderation-metrics-*"))
