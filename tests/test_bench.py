import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from semantic_service.settings import EMBEDDED_MODEL
from tests.bench import load, texts
from tests.bench.claims import Claim
from tests.bench.load import LOST, Plan
from tests.bench.results import Results, p99
from tests.loopback import listening

PROJECT = Path(__file__).parents[1]
ONE_BY_ONE_S = 0.01


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if body == "hang up":
            self.close_connection = True
            return
        answer = b"{}"
        self.send_response(429 if body == "too much" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class OneByOne(Answering):
    turn = threading.Lock()

    def do_POST(self):
        with self.turn:
            threading.Event().wait(ONE_BY_ONE_S)
            super().do_POST()


def carried_out(handler, bodies, seconds, **how):
    with listening(handler) as address:
        return load.run(Plan(int(address.rpartition(":")[2]), "/", bodies, seconds, **how))


def test_a_closed_plan_sends_the_bodies_in_turn_and_counts_answers_by_status():
    outcome = carried_out(Answering, ["fine", "too much"], 0.3, concurrency=1)
    accepted, refused = (len(outcome.latencies_s[status]) for status in ("200", "429"))
    assert accepted - refused in (0, 1)
    assert outcome.rate("429") == outcome.in_time["429"] / 0.3


def test_an_open_plan_counts_the_time_that_a_request_waited_for_a_slow_server():
    seconds = 0.3
    outcome = carried_out(OneByOne, ["fine"], seconds, rate=400)
    answered = outcome.latencies_s["200"]
    assert max(answered) >= len(answered) * ONE_BY_ONE_S - seconds  # the last one was due before the end, and had all others before it
    assert outcome.in_time["200"] <= seconds / ONE_BY_ONE_S


def test_a_connection_that_breaks_is_an_answer_lost():
    outcome = carried_out(Answering, ["fine", "hang up"], 0.2, rate=100)
    assert outcome.latencies_s[LOST]
    assert outcome.latencies_s["200"]


def test_the_texts_of_a_round_differ_and_are_the_same_in_every_run():
    posts = texts.read(texts.POSTS)
    taken = texts.take(posts, 2000, seed=3)
    assert len(set(taken)) == 2000
    assert taken == texts.take(posts, 2000, seed=3)
    assert not set(taken) <= set(texts.take(posts, 2000, seed=4))


def test_nine_in_ten_of_a_flood_say_one_of_fifty_things():
    flood = texts.flood([str(number) for number in range(2000)], seed=1)
    spam = sum(int(text) < texts.FLOOD_TEXTS for text in flood)
    assert 0.85 < spam / len(flood) < 0.95


def test_a_dump_gives_its_column_of_texts(tmp_path):
    dump = tmp_path / "dump.tsv"
    dump.write_text('post_id\tcontent\n1\t今天"真好\n2\t \n', encoding="utf-8")
    assert texts.read(dump) == ['今天"真好']


def test_a_promise_that_was_not_measured_is_not_kept():
    assert not Claim("p99 of refusals", None, 20, at_least=False).is_kept
    assert Claim("p99 of refusals", 20, 20, at_least=False).is_kept
    assert not Claim("of the engine", 0.89, 0.9, at_least=True).is_kept


def test_figures_are_summed_up_over_the_rounds():
    results = Results()
    for rate in (3.0, 1.0, 2.0):
        results.add("engine", texts_s=rate)
    figure = results.figures()["engine"]["texts_s"]
    assert (figure.median, figure.least, figure.most) == (2.0, 1.0, 3.0)
    assert p99(range(1000)) == 990


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_bench_measures_every_promise(tmp_path):
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--model", str(EMBEDDED_MODEL), "--out", str(out)]
    printed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, encoding="utf-8").stdout
    kept = json.loads(out.read_text(encoding="utf-8"))
    assert kept["figures"]["bare engine, 1 thread"]["texts_s"]["median"] > 0
    assert all(claim["promise"] in printed for claim in kept["claims"])
    assert "| HTTP, concurrency 32 |" in printed
