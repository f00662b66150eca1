"""Measure answers while the database, or Label Studio, is away: `.venv/train/bin/python -m tests.bench.outage`.

Posts come at a steady rate, every one of them is to be stored, and `sync` runs beside. Each outage stands between two periods in which
everything is there; the table gives the latency of `/classify` in each. Client and servers share the machine.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from semantic_service.contract.records import Record
from semantic_service.settings import EMBEDDED_MODEL
from semantic_service.store.store import Store
from tests.annotation.label_studio import TOKEN, label_studio, migrated
from tests.deadline import until
from tests.postgres import Postgres
from tests.served import PROJECT, Server, killed_in_the_end, serving

ARRIVAL_S = 300.0  # for what waited to get where it belongs


@dataclass
class Forum:
    """Sends posts, no two alike, `rate` a second, whether or not the last one has been answered."""

    server: Server
    rate: float
    callers: ThreadPoolExecutor
    posted: list[str] = field(default_factory=list)

    def __post_init__(self):
        posts = (PROJECT / "data" / "annotations" / "validation.jsonl").read_text("utf-8").splitlines()
        texts = [Record.from_json(line).text for line in posts]
        self._texts = (f"{number}楼 {text}" for number, text in enumerate(itertools.cycle(texts)))

    def post_for(self, seconds):
        """Give the seconds that each post took, by the time at which it was due."""
        began, answers = time.monotonic(), []
        for number in range(int(seconds * self.rate)):
            due = began + number / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
            self.posted.append(next(self._texts))
            answers.append(self.callers.submit(self._ask, self.posted[-1], due))
        return [answer.result() for answer in answers]

    def _ask(self, text, due):
        status, _ = self.server.classify(text)
        assert status == 200, status
        return time.monotonic() - due


def main():
    """Run the periods, print a table, and check that everything has arrived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each period (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="posts a second (default: %(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "studio").mkdir()
        postgres = stack.enter_context(Postgres.started(folder))
        studio = stack.enter_context(label_studio(migrated(folder / "studio")))
        url = postgres.empty("outage")
        server = stack.enter_context(serving(EMBEDDED_MODEL, folder, database_url=url, audit_share=1))
        stack.enter_context(killed_in_the_end(start_sync(studio, url, folder)))
        forum = Forum(server, options.rate, stack.enter_context(ThreadPoolExecutor(64)))
        forum.post_for(5)  # warms up
        outages = {"database": (postgres.stop, postgres.start), "Label Studio": (studio.stop, studio.start)}
        print("| period | posts | p50 ms | p99 ms | slowest ms |\n|---|---:|---:|---:|---:|")
        report("everything is there", forum.post_for(options.seconds))
        for name, (stop, start) in outages.items():
            stop()
            report(f"{name} away", forum.post_for(options.seconds))
            start()
            report("everything is there", forum.post_for(options.seconds))
        check_arrival(forum, url, folder)


def start_sync(studio, url, folder):
    """Start `sync` between the store and Label Studio; what it says goes to a file."""
    values = {
        "URL": studio.url,
        "TOKEN": TOKEN,
        "PROJECT": f"outage {uuid.uuid4().hex[:8]}",
        "DATABASE_URL": url,
        "STATE": folder / "state",
    }
    environment = os.environ | {f"ANNOTATION_{name}": str(value) for name, value in (values | {"DATA": folder / "labels"}).items()}  # noqa: TID251 - what it is given
    subprocess.run([sys.executable, "-m", "annotation", "init"], cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)
    with (folder / "sync.log").open("wb") as log:
        command = [sys.executable, "-m", "annotation", "sync", "--interval", "1"]
        return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)


def report(period, seconds):
    """Print one period's row."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    p50, p99, slowest = (round(1000 * value, 1) for value in (cuts[49], cuts[98], max(seconds)))
    print(f"| {period} | {len(seconds)} | {p50} | {p99} | {slowest} |", flush=True)


def check_arrival(forum, url, folder):
    """Fail unless every post is in the store once and `sync` has found both servers again."""

    def stored():
        with closing(Store.open(url)) as store:
            return Counter(review.text for review in store.reviews())

    until(lambda: stored() == Counter(forum.posted), ARRIVAL_S)
    print(f"\n{len(forum.posted)} posts sent, each is stored once; sync said:")
    print((folder / "sync.log").read_text("utf-8"))


if __name__ == "__main__":
    main()
