"""Rounds in which each server is started, measured and stopped in turn, so that one alone has the machine."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tqdm import tqdm

from tests.bench import load, servers
from tests.bench import texts as posts
from tests.bench.load import Plan
from tests.bench.results import Results, p50, p99
from tests.bench.servers import Server, ServerError, Service

CONCURRENCIES = (1, 16, 32, 64)
TEXTS = 4_000


def row(name: str, concurrency: int) -> str:
    """Name a server's row at so many clients."""
    return f"{name}, concurrency {concurrency}"


class Contest:
    """Measures servers of one model; figures go into the results, and the reasons why some have none into `dropped`."""

    def __init__(self, pool: list[str], labels: Mapping[str, str], seconds: float, results: Results) -> None:
        """Make texts from the pool's; `labels` are what the model says of some."""
        self._pool = pool
        self._labels = labels
        self._seconds = seconds
        self._add = results.add
        self.dropped: dict[str, str] = {}

    def run(self, services: Sequence[Service], rounds: int) -> None:
        """Measure every server in every round, another one first each time; one that fails to start is not tried again."""
        for number in tqdm(range(rounds), desc="rounds", disable=None):
            texts = posts.take(self._pool, TEXTS, seed=number)
            first = number % len(services)
            for service in (*services[first:], *services[:first]):
                if service.name not in self.dropped:
                    self._measure(service, texts)

    def _measure(self, service: Service, texts: list[str]) -> None:
        print(f"measuring {service.name}", file=sys.stderr)
        try:
            with servers.running(service, texts[0]) as server:
                self._closed(server, texts, max(CONCURRENCIES))  # warms up
                for concurrency in CONCURRENCIES:
                    self._add(row(service.name, concurrency), **self._closed(server, texts, concurrency))
                same = sum(server.ask(text) == label for text, label in self._labels.items()) / len(self._labels)
                self._add(service.name, start_s=server.start_s, same_labels=same, **asdict(server.memory()))
        except (ServerError, OSError) as error:
            self.dropped[service.name] = str(error)
            print(error, file=sys.stderr)

    def _closed(self, server: Server, texts: list[str], concurrency: int) -> dict[str, float]:
        plan = Plan(server.port, server.service.path, server.service.encode(texts), self._seconds, concurrency=concurrency)
        outcome = load.run(plan)
        answered = outcome.latencies_s.get("200", [])
        if not outcome.rate():
            raise ServerError(f"{server.service.name} gave no verdict in {self._seconds:g} s at concurrency {concurrency}")
        failed = sum(map(len, outcome.latencies_s.values())) - len(answered)
        return {"texts_s": outcome.rate(), "p50_ms": 1000 * p50(answered), "p99_ms": 1000 * p99(answered), "failed": float(failed)}
