"""A load generator in a process of its own: `python -m tests.bench.load` reads a plan from standard input and prints an outcome, as JSON.

Closed: so many connections, each waiting for its answer before the next request. Open: requests arrive at random moments (Poisson),
however slow the answers; each request's time counts from the moment at which it was due, so that no stall is hidden.
"""

import asyncio
import json
import random
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import cast

import httptools
import uvloop

PROJECT = Path(__file__).parents[2]
LOST = "lost"  # instead of a status: the connection broke, or no answer came
PATIENCE_S = 60.0  # for answers after the last request
OPEN_AT_FIRST = 64  # connections of an open plan; more are opened as they are needed


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: each body in turn, for so many seconds, with `concurrency` (closed) or at `rate` a second (open)."""

    port: int
    path: str
    bodies: list[str]
    seconds: float
    concurrency: int = 0
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Each answer's seconds by status, how many came in time by status, and the share of one core that the generator itself took."""

    latencies_s: dict[str, list[float]]
    in_time: dict[str, int]
    seconds: float
    cpu_share: float

    def rate(self, status: str = "200") -> float:
        """Answers a second."""
        return self.in_time.get(status, 0) / self.seconds


def run(plan: Plan) -> Outcome:
    """Carry out a plan in a process of its own."""
    return finish(begin(plan))


def begin(plan: Plan) -> subprocess.Popen[str]:
    """Start to carry out a plan."""
    command = [sys.executable, "-m", __spec__.name]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    process.stdin.write(json.dumps(asdict(plan)))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for the outcome."""
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit("the load generator failed, its traceback stands above")
    return Outcome(**json.loads(printed))


class Connection(asyncio.Protocol):
    """A kept-alive connection with at most one request on its way."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._due: float | None = None
        self.transport: asyncio.WriteTransport

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due at a moment of the monotonic clock."""
        self._due = due
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the other end."""
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; the parser calls `on_message_complete`."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._answer(str(self._parser.get_status_code()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that will get no answer."""
        self._answer(LOST)

    def _answer(self, status: str) -> None:
        if self._due is not None:
            due, self._due = self._due, None
            self._generator.answered(self, status, due)


class Generator:
    """Carries out one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = cycle([_request(plan, body.encode()) for body in plan.bodies])
        self._idle: list[Connection] = []
        self._on_their_way = 0
        self._latencies_s: dict[str, list[float]] = {}
        self._in_time: dict[str, int] = {}

    async def run(self) -> Outcome:
        """Send until the time is up, then wait for the last answers."""
        for _ in range(self._plan.concurrency or OPEN_AT_FIRST):
            self._idle.append(await self._connected())
        cpu_s, started = time.process_time(), time.perf_counter()
        self._end = started + self._plan.seconds
        if self._plan.rate:
            await self._arrive(started)
        else:
            for _ in range(self._plan.concurrency):
                self._send(time.perf_counter())
        await self._last_answers()
        cpu_share = (time.process_time() - cpu_s) / (time.perf_counter() - started)
        return Outcome(self._latencies_s, self._in_time, self._plan.seconds, cpu_share)

    async def _arrive(self, due: float) -> None:
        chance = random.Random(0)
        while (due := due + chance.expovariate(self._plan.rate)) < self._end:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            self._send(due)

    async def _last_answers(self) -> None:
        give_up = self._end + PATIENCE_S
        while (self._on_their_way or time.perf_counter() < self._end) and time.perf_counter() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # an event would cost something with every answer
        for _ in range(self._on_their_way):
            self._count(LOST, self._end)

    def _send(self, due: float) -> None:
        self._on_their_way += 1
        while self._idle and self._idle[-1].transport.is_closing():  # the server has closed it meanwhile
            self._idle.pop()
        if self._idle:
            self._idle.pop().ask(next(self._requests), due)
        else:
            self._connecting = asyncio.ensure_future(self._connect_and_ask(due))

    async def _connect_and_ask(self, due: float) -> None:
        try:
            connection = await self._connected()
        except OSError:
            self._count(LOST, due)
        else:
            connection.ask(next(self._requests), due)

    async def _connected(self) -> Connection:
        return (await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self._plan.port))[1]

    def answered(self, connection: Connection, status: str, due: float) -> None:
        """Count an answer; in a closed plan the next request follows at once."""
        if not connection.transport.is_closing():
            self._idle.append(connection)
        if self._count(status, due) < self._end and not self._plan.rate:
            self._send(time.perf_counter())

    def _count(self, status: str, due: float) -> float:
        now = time.perf_counter()
        self._on_their_way -= 1
        self._latencies_s.setdefault(status, []).append(now - due)
        self._in_time[status] = self._in_time.get(status, 0) + (now < self._end)
        return now


def _request(plan: Plan, body: bytes) -> bytes:
    head = (
        f"POST {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    """Read a plan, carry it out, print the outcome."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = Plan(**json.load(sys.stdin))

    async def carry_out() -> Outcome:
        return await Generator(plan).run()

    json.dump(asdict(uvloop.run(carry_out())), sys.stdout)


if __name__ == "__main__":
    main()
