"""Measure the bare engine and the HTTP service side by side: `make bench`.

Every round runs each measurement once, in turn, so that a change of the machine's speed touches all of them; the table gives
medians over the rounds and, for rates, the smallest and largest. The texts are
data/annotations/validation.jsonl. Client and server share the machine.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT))

from semantic_service.contract.bundle import Bundle  # noqa: E402 - run as a script, from anywhere
from semantic_service.contract.text import normalise  # noqa: E402
from semantic_service.engine.classifier import OnnxClassifier  # noqa: E402
from semantic_service.settings import EMBEDDED_MODEL  # noqa: E402

CONCURRENCIES = (1, 16, 64)
START_S = 60.0
ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: texts a second, tokens a second (engine only) and each request's seconds (HTTP only)."""

    texts_s: float
    tokens_s: float | None = None
    latencies_s: tuple[float, ...] = ()


def main() -> None:
    """Run the rounds and print a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL, help="a bundle's folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=480, help="of one measurement (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = sample_texts(options.texts)
    classifier = OnnxClassifier.load(Bundle.read(options.model))
    samples: dict[str, list[Sample]] = {ENGINE: [], **{str(concurrency): [] for concurrency in CONCURRENCIES}}
    with served(options.model) as port:
        for number in range(options.rounds + 1):
            is_counted = number > 0  # the first round warms up
            for name, taken in samples.items():
                sample = measure_engine(classifier, texts) if name == ENGINE else asyncio.run(measure_http(port, texts, int(name)))
                if is_counted:
                    taken.append(sample)
                print(f"round {number}: {name} {sample.texts_s:.0f} texts/s", file=sys.stderr)
    print(json.dumps(summary(samples), indent=2) if options.json else table(samples))


def sample_texts(count: int) -> list[str]:
    """Take posts in a fixed order, again from the start when they run out."""
    lines = (PROJECT / "data/annotations/validation.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    return [texts[index % len(texts)] for index in range(count)]


def measure_engine(classifier: OnnxClassifier, texts: list[str]) -> Sample:
    """Score texts from one thread a core."""
    normalised = [normalise(text).text for text in texts]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.perf_counter()
        scores = list(pool.map(classifier.score, normalised))
        seconds = time.perf_counter() - started
    return Sample(len(texts) / seconds, sum(score.tokens for score in scores) / seconds)


@contextmanager
def served(model: Path) -> Iterator[int]:
    """Run the service on a free port for as long as the block lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = {"MODERATION_PORT": str(port), "MODERATION_MODEL": str(model), "MODERATION_LOG_LEVEL": "info"}
    environment = os.environ | settings  # noqa: TID251 - the child's
    server = subprocess.Popen([sys.executable, "-m", "semantic_service"], cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def wait_until_open(port: int) -> None:
    """Wait for the server to listen."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the service did not start: run `make run` to see why")


async def measure_http(port: int, texts: list[str], concurrency: int) -> Sample:
    """Post texts over `concurrency` connections, each waiting for its answer before the next."""
    waiting = iter(texts)
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in waiting:
            body = json.dumps({"text": text}).encode()
            head = f"POST /classify HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            started = time.perf_counter()
            writer.write(head.encode() + body)
            await read_answer(reader)
            latencies.append(time.perf_counter() - started)
        writer.close()
        await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return Sample(len(texts) / (time.perf_counter() - started), latencies_s=tuple(latencies))


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer; anything but 200 ends the bench."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"the service answered {head[:40]!r} {body[:200]!r}")


def summary(samples: dict[str, list[Sample]]) -> dict[str, object]:
    """Give medians and spread by measurement; `of_engine` is the ratio to the engine's rate in the same round."""
    engine = [sample.texts_s for sample in samples[ENGINE]]
    rows: dict[str, object] = {"machine": machine(), "date": datetime.now(UTC).date().isoformat()}
    for name, taken in samples.items():
        rates = [sample.texts_s for sample in taken]
        latencies = sorted(latency for sample in taken for latency in sample.latencies_s)
        rows[name] = {
            "texts_s": statistics.median(rates),
            "texts_s_range": [min(rates), max(rates)],
            "tokens_s": statistics.median([sample.tokens_s for sample in taken if sample.tokens_s] or [0]) or None,
            "p50_ms": 1000 * latencies[len(latencies) // 2] if latencies else None,
            "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)] if latencies else None,
            "of_engine": statistics.median(rate / best for rate, best in zip(rates, engine, strict=True)),
        }
    return rows


def table(samples: dict[str, list[Sample]]) -> str:
    """Write the summary as Markdown."""
    rows = summary(samples)
    lines = [
        f"{rows['date']}, {rows['machine']}",
        "",
        "| measurement | texts/s (range) | tokens/s | p50 ms | p99 ms | of the engine's rate |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in samples:
        row = rows[name]
        assert isinstance(row, dict)
        low, high = row["texts_s_range"]
        title = "bare engine, a thread a core" if name == ENGINE else f"HTTP, concurrency {name}"
        numbers = ["" if row[key] is None else f"{row[key]:,.1f}" for key in ("p50_ms", "p99_ms")]
        tokens = "" if row["tokens_s"] is None else f"{row['tokens_s']:,.0f}"
        lines.append(
            f"| {title} | {row['texts_s']:.0f} ({low:.0f}-{high:.0f}) | {tokens} | {' | '.join(numbers)} | {row['of_engine']:.2f} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Name the processor and its cores."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
