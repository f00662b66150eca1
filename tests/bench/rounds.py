"""The measurements of our own service, once each in every round."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from semantic_service.contract.bundle import TOGETHER, Bundle
from semantic_service.engine.classifier import OnnxClassifier
from tests.bench import engine, load, rows, servers
from tests.bench import texts as posts
from tests.bench.load import Outcome, Plan
from tests.bench.results import Results, p50, p99
from tests.bench.servers import PROJECT, Server

CORES = os.cpu_count() or 1
WAYS = ((1, 1), (CORES, 1), (CORES, TOGETHER))  # for the engine: threads, and texts at once
CONCURRENCIES = (16, 32, 64)
LOADS = (50, 80, 120, 1000)  # percent of the capacity
TEXTS = 20_000  # of a round: more than any measurement can use up
GROUPED_TEXTS = 2_000  # of them, for the engine by length
BATCH_ITEMS = 256
BATCH_ROWS_S = 300  # rows of a dump for each second of a measurement
REFUSALS = ("429", "503")
SHARE = 0.2  # of a measurement's seconds for each of the many small ones


class Rounds:
    """Measures one bundle; figures go into the results."""

    def __init__(self, bundle: Bundle, pool: list[str], seconds: float, folder: Path, results: Results) -> None:
        """Measure for so many seconds each, with texts made from the pool's; servers keep what they keep in `folder`."""
        self._bundle = bundle
        self._classifier = OnnxClassifier.load(bundle)
        self._pool = pool
        self._seconds = seconds
        self._folder = folder
        self._caching = servers.ours(bundle.path, folder)
        self._plain = servers.ours(bundle.path, folder, cache_size=0)
        self._add = results.add

    def run(self, rounds: int) -> None:
        """Measure round after round; the servers and the engine are warm before the first."""
        with ExitStack() as stack:
            server = stack.enter_context(servers.running(self._plain, self._pool[0]))
            caching = stack.enter_context(servers.running(self._caching, self._pool[0]))
            for warmed in (server, caching):
                self._closed(warmed, self._pool, max(CONCURRENCIES))
            for number in tqdm(range(rounds), desc="rounds", disable=None):
                texts = posts.take(self._pool, TEXTS, seed=number)
                best = self._engine(server, texts)
                capacity = self._http(server, texts, best)
                self._arrivals(server, texts, capacity)
                self._flood(caching, posts.flood(texts, seed=number))
                self._start(texts[0])
                self._batch_file(texts)
            self._add(rows.MEMORY, **asdict(server.memory()))

    def _engine(self, server: Server, texts: list[str]) -> float:
        """Measure the engine, and what a lone request costs beyond it; give the best rate."""
        alone = engine.measure(self._classifier, texts, 1, self._seconds)
        asked = self._closed(server, texts, 1)
        further = {way: engine.measure(self._classifier, texts, way[0], self._seconds, way[1]) for way in WAYS[1:]}
        best = max(scored.texts_s for scored in (alone, *further.values()))
        for way, scored in ({WAYS[0]: alone} | further).items():
            self._add(rows.engine(*way), **_speed(scored), **_times(scored.latencies_s), of_engine=scored.texts_s / best)
        request_s = asked.latencies_s["200"]
        beyond = p50([request - score for request, score in zip(request_s, alone.latencies_s, strict=False)])  # text by text
        self._add(rows.http(1), texts_s=asked.rate(), of_engine=asked.rate() / best, **_times(request_s), beyond_ms=1000 * beyond)
        for tokens, group in engine.by_length(self._classifier, texts[:GROUPED_TEXTS]).items():
            for threads, at_once in WAYS:
                scored = engine.measure(self._classifier, group, threads, self._seconds * SHARE, at_once)
                self._add(rows.engine_at(tokens, threads, at_once), **_speed(scored))
        return best

    def _http(self, server: Server, texts: list[str], best: float) -> float:
        """Measure concurrent clients; give the capacity, the best of their rates."""
        rates = {}
        for concurrency in CONCURRENCIES:
            outcome = self._closed(server, texts, concurrency)
            rates[concurrency] = outcome.rate()
            self._add(rows.http(concurrency), **_answers(outcome), of_engine=outcome.rate() / best, generator=outcome.cpu_share)
        self._add(rows.http(64), of_16=rates[64] / rates[16])
        return max(rates.values())

    def _closed(self, server: Server, texts: list[str], concurrency: int) -> Outcome:
        return self._carried_out(self._plan(server, texts, concurrency=concurrency))

    def _carried_out(self, plan: Plan) -> Outcome:
        outcome = load.run(plan)
        if not outcome.rate():
            raise SystemExit(f"no verdict in {self._seconds:g} s: give more --seconds, or a machine with less to do")
        return outcome

    def _plan(self, server: Server, texts: list[str], *, concurrency: int = 0, rate: float = 0.0) -> Plan:
        return Plan(server.port, server.service.path, server.service.encode(texts), self._seconds, concurrency, rate)

    def _arrivals(self, server: Server, texts: list[str], capacity: float) -> None:
        """Measure requests that don't wait for each other, then the same beside a client whose batches never end."""
        plans = {percent: self._plan(server, texts, rate=capacity * percent / 100) for percent in LOADS}
        outcomes = {percent: self._carried_out(plan) for percent, plan in plans.items()}
        for percent, outcome in outcomes.items():
            self._add(rows.arrival(percent), **_answers(outcome), generator=outcome.cpu_share)
        p99_s = {percent: p99(outcome.latencies_s["200"]) for percent, outcome in outcomes.items()}
        self._add(rows.arrival(1000), of_80=p99_s[1000] / p99_s[80])
        looping = load.begin(Plan(server.port, "/classify/batch", _batches(texts), self._seconds, concurrency=1))
        beside = self._carried_out(plans[50])
        batch_texts_s = load.finish(looping).rate() * BATCH_ITEMS
        self._add(rows.BESIDE_BATCHES, **_answers(beside), of_50=p99(beside.latencies_s["200"]) / p99_s[50], batch_texts_s=batch_texts_s)

    def _flood(self, server: Server, texts: list[str]) -> None:
        outcome = self._closed(server, texts, 32)
        self._add(rows.FLOOD, texts_s=outcome.rate(), **_times(outcome.latencies_s["200"]))

    def _start(self, text: str) -> None:
        with servers.running(self._plain, text) as server:
            self._add(rows.START, start_s=server.start_s)

    def _batch_file(self, texts: list[str]) -> None:
        """Score a dump; of its time that of a dump of one row is taken off, for the start."""
        count = int(BATCH_ROWS_S * self._seconds)
        self._add(rows.BATCH_FILE, texts_s=count / (self._batch_s(texts[: count + 1]) - self._batch_s(texts[:1])))

    def _batch_s(self, texts: list[str]) -> float:
        dump, scored = self._folder / "dump.tsv", self._folder / "scored.tsv"
        dump.write_text("\n".join(["text", *(" ".join(text.split()) for text in texts)]) + "\n", encoding="utf-8")
        environment = os.environ | {"MODERATION_MODEL": str(self._bundle.path)}  # noqa: TID251 - the child's
        started = time.perf_counter()
        command = [sys.executable, "-m", "semantic_service.batch", str(dump), str(scored)]
        subprocess.run(command, cwd=PROJECT, env=environment, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def _speed(scored: engine.Scored) -> dict[str, float]:
    return {"texts_s": scored.texts_s, "tokens_s": scored.tokens_s}


def _times(latencies_s: list[float]) -> dict[str, float]:
    return {"p50_ms": 1000 * p50(latencies_s), "p99_ms": 1000 * p99(latencies_s)}


def _answers(outcome: Outcome) -> dict[str, float]:
    """Tell the accepted from the refused; whatever else came is neither."""
    accepted = outcome.latencies_s["200"]
    refused = [latency for status in REFUSALS for latency in outcome.latencies_s.get(status, [])]
    rest = sum(map(len, outcome.latencies_s.values())) - len(accepted) - len(refused)
    refused_s = sum(outcome.rate(status) for status in REFUSALS)
    figures = {"texts_s": outcome.rate(), **_times(accepted), "refused_s": refused_s, "failed": float(rest)}
    return figures | ({"refusal_p99_ms": 1000 * p99(refused)} if refused else {})


def _batches(texts: list[str]) -> list[str]:
    starts = range(0, len(texts) - BATCH_ITEMS + 1, BATCH_ITEMS)
    return [json.dumps({"items": [{"text": text} for text in texts[start : start + BATCH_ITEMS]]}) for start in starts]
