"""Measure how the rate grows with threads and processes, and reckon what that means for a cluster: `python tests/bench/scaling.py`.

Every round runs each measurement once, in turn, so that a change of the machine's speed touches all of them; medians over the rounds. The
texts are data/annotations/validation.jsonl. With --into FILE the tables go between the file's two `measured` marks.
"""

import argparse
import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT))

from semantic_service.batch.job import Job, Reading  # noqa: E402 - run as a script, from anywhere
from semantic_service.batch.jsonl import JsonlLayout  # noqa: E402
from semantic_service.batch.places import Shard  # noqa: E402
from semantic_service.batch.pools import Pool, Processes, Threads, Work, in_order  # noqa: E402
from semantic_service.batch.scoring import Recipe, Scored, score  # noqa: E402
from semantic_service.batch.tables import Layout, Part  # noqa: E402
from semantic_service.batch.tsv import Dialect  # noqa: E402
from semantic_service.settings import Settings  # noqa: E402
from tests.bench.results import machine  # noqa: E402

PART_LINES = 16  # small, so that two workers end together
DEALT_ROWS = 200_000
USED = 0.6  # of the cores when serving: the rest is headroom for the tail
POSTS_S = 10_000
BILLION = 1_000_000_000
CLUSTERS = (64, 256, 1024)
MARK = "<!-- measured -->\n"


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows a second by way and number of workers, what one hand deals out, a process's memory and a row's bytes."""

    rows_s: dict[tuple[str, int], float]
    dealt_rows_s: float
    process_mb: float
    row_bytes: float
    scored_bytes: float


class Dealt:
    """Workers that take no time: what is left is to cut, to send, to receive and to write."""

    workers = 2

    def __init__(self, scored: Scored) -> None:
        self._answer = pickle.dumps(scored)

    def submit(self, layout: Layout, part: Part) -> Future[Scored]:
        """Do what sending to another process takes."""
        pickle.dumps((layout, part.content))
        future: Future[Scored] = Future()
        future.set_result(pickle.loads(self._answer))
        return future

    def restart(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=480, help="of one measurement (default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a Markdown file with two marks")
    options = parser.parse_args()
    tables = "\n".join(report(measure(options.rounds, options.rows)))
    if options.into is None:
        print(tables)
    else:
        before, _, after = options.into.read_text(encoding="utf-8").split(MARK)
        options.into.write_text(f"{before}{MARK}{tables}\n{MARK}{after}", encoding="utf-8")


def measure(rounds: int, rows: int) -> Measured:
    """Take every measurement in turn, `rounds` times, on the first `rows` posts."""
    recipe = Recipe.read(Settings.from_environment())
    moderator = recipe.moderator()
    lines = (PROJECT / "data/annotations/validation.jsonl").read_bytes().splitlines()[:rows]
    whole = score(moderator, JsonlLayout("text"), lines)
    pools: dict[tuple[str, int], Pool] = {
        **{("threads", number): Threads(moderator, number) for number in (1, 2)},
        **{("processes", number): Processes(recipe, number) for number in (1, 2)},
    }
    samples: dict[tuple[str, int], list[float]] = {name: [] for name in pools}
    for number in range(rounds + 1):
        for name, pool in pools.items():
            rows_s = rate(pool, lines)
            print(f"round {number}: {name[1]} {name[0]} {rows_s:.0f} rows/s", file=sys.stderr)
            if number:  # the first round warms up
                samples[name].append(rows_s)
    process_mb = statistics.median(map(memory_mb, children()))
    for pool in pools.values():
        pool.close()
    dealt_rows_s = deal(recipe)
    medians = {name: statistics.median(taken) for name, taken in samples.items()}
    return Measured(medians, dealt_rows_s, process_mb, sum(map(len, lines)) / len(lines), len(whole.out) / len(lines))


def rate(pool: Pool, lines: Sequence[bytes]) -> float:
    """Judge the lines once."""

    def works() -> Iterator[Work[None]]:
        for start in range(0, len(lines), PART_LINES):
            part = tuple(lines[start : start + PART_LINES])
            yield Work(None, JsonlLayout("text"), Part(part, len(part), start))

    started = time.perf_counter()
    rows = sum(scored.rows for _, scored in in_order(pool, works()))
    return rows / (time.perf_counter() - started)


def deal(recipe: Recipe) -> float:
    """Cut and write a dump whose parts are judged in no time."""
    row = "1000000\tlife\t2026-10-01T00:00:00+08:00\t" + "好" * 40 + "\n"
    with tempfile.TemporaryDirectory() as folder:
        shard = Shard(f"{folder}/in.tsv", f"{folder}/out.tsv")
        Path(shard.input).write_text("id\tboard\tat\ttext\n" + row * DEALT_ROWS, encoding="utf-8")
        started = time.perf_counter()
        with closing(Dealt(Scored(row.encode() * 2 * 512, 512, 0))) as pool:
            Job([shard], Reading(Dialect("text")), recipe).run(pool)
        return DEALT_ROWS / (time.perf_counter() - started)


def children() -> list[int]:
    """Name the processes with a model."""
    numbers = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    return [int(number) for number in numbers if "spawn_main" in Path(f"/proc/{number}/cmdline").read_text(encoding="utf-8")]


def memory_mb(process: int) -> float:
    """Give a process's memory, what it shares counted in part."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    (pss,) = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(pss) / 1024


def report(measured: Measured) -> Iterator[str]:
    """Lay out what was measured and what follows from it."""
    one = measured.rows_s["processes", 1]
    yield f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, the embedded model; medians.\n"
    yield "| workers | rows/s | of one |\n|---|---:|---:|"
    for (way, number), rows_s in measured.rows_s.items():
        yield f"| {number} {way} | {rows_s:,.0f} | {rows_s / measured.rows_s[way, 1]:.2f} |"
    yield f"| dealing out and writing alone, no model | {measured.dealt_rows_s:,.0f} | |"
    yield (
        f"\nA process takes {measured.process_mb:,.0f} MB, a row {measured.row_bytes:,.0f} bytes in and {measured.scored_bytes:,.0f} out "
        f"(JSONL). With r = {one:,.0f} rows/s a core:\n"
    )
    cores = POSTS_S / one / USED
    yield f"- 10,000 posts/s, cores {USED:.0%} busy: 10,000 / ({one:,.0f} x {USED}) = **{cores:,.0f} cores**."
    hours = BILLION / one / 3600
    moved_bytes = measured.row_bytes + measured.scored_bytes
    yield f"- 10⁹ rows: 10⁹ / {one:,.0f} / 3,600 = **{hours:,.0f} core-hours**, in and out {BILLION * moved_bytes / 1e9:,.0f} GB.\n"
    yield "| cores | hours for 10⁹ rows | rows/s | the writer's MB/s | memory of the models, GB |\n|---:|---:|---:|---:|---:|"
    for size in CLUSTERS:
        rows_s = size * one
        memory_gb = size * measured.process_mb / 1024
        yield f"| {size:,} | {hours / size:,.1f} | {rows_s:,.0f} | {rows_s * moved_bytes / 1e6:,.0f} | {memory_gb:,.0f} |"


if __name__ == "__main__":
    main()
