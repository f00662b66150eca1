"""One thread a core and a bounded queue before them: single posts first, batches in the gaps."""

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar

from semantic_service.contract.bundle import TOGETHER

Answer = TypeVar("Answer")
BEHIND_THE_LOOP = 10  # nicer than the thread that reads and refuses requests, which else falls behind where more comes than can be done
LOWEST_PRIORITY = 19  # nice
SINGLES_IN_A_ROW = 15  # then a batch has its turn, if one waits: batches get a sixteenth of a busy machine, and never starve
BURST = 32  # texts a thread that may wait however slow the model is
SHORT_QUEUE = 3  # texts a thread: enough that no thread idles, and all that waits while more comes than can be done
CALM_S = 1.0  # without a refusal, after which the queue may be long again
FRESH_S = 0.1  # what has waited less can still be refused; who has waited longer is answered
_SMOOTHING = 1 / 32  # of the time that a text takes


class QueueFullError(Exception):
    """More work is waiting than can be done in useful time."""

    def __init__(self, waiting: int, wait_s: float) -> None:
        super().__init__(f"{waiting} texts are waiting, which would take about {1000 * wait_s:.0f} ms: try again later")


@dataclass(frozen=True, slots=True)
class Done(Generic[Answer]):
    """A piece of work's answer, how long it had waited, and its share of the time that the run took, in seconds."""

    answer: Answer
    queue_s: float
    run_s: float


class Job(Generic[Answer]):
    """A piece of work, and what became of it. Lighter than a future of the standard library, which brings a lock of its own."""

    __slots__ = ("_told", "is_waiting", "item", "outcome", "queued", "work")

    def __init__(self, work: Callable[[Sequence[Any]], Sequence[Answer]], item: object, told: Callable[[], object]) -> None:
        """Have `work` done with `item`, perhaps with other jobs' items in one call.

        `told` is called once the job has ended, on the thread that ends it: a worker's, or that of who submits or cancels.
        """
        self.work = work
        self.item = item
        self.queued = 0.0  # by time.perf_counter
        self.is_waiting = True
        self.outcome: Done[Answer] | BaseException | None = None
        self._told = told

    @classmethod
    def alone(cls, work: Callable[[], Answer], told: Callable[[], object]) -> Self:
        """Have something done that is not done for several at once."""
        return cls(lambda _: [work()], None, told)

    def end(self, outcome: Done[Answer] | BaseException) -> None:
        """Tell what became of it."""
        told = self._told
        del self.work, self.item, self._told  # they hold a text, and whoever holds this job
        self.outcome = outcome
        told()

    @property
    def is_cancelled(self) -> bool:
        """Whether it will never run, since nobody wanted it any more."""
        return isinstance(self.outcome, CancelledError)

    def result(self) -> Done[Answer]:
        """Give the answer, once it has ended.

        Raises:
            QueueFullError: so much more has come meanwhile that there was no time for it.
            CancelledError: it was cancelled.

        """
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome


Ended = tuple[Job[Any], Done[Any] | BaseException]


class Lanes:
    """What waits: single posts, oldest first, and batches, which take turns text by text."""

    def __init__(self) -> None:
        self.singles: deque[Job[Any]] = deque()
        self._batches: deque[deque[Job[Any]]] = deque()
        self._in_a_row = 0

    def put(self, jobs: Sequence[Job[Any]]) -> None:
        """Let jobs wait; what comes alone is a single post."""
        if len(jobs) == 1:
            self.singles.append(jobs[0])
        elif jobs:
            self._batches.append(deque(jobs))

    @property
    def of_batches(self) -> int:
        """How many texts of batches wait."""
        return sum(map(len, self._batches))

    def take(self) -> Job[Any] | None:
        """Give the next job; None if nothing waits."""
        while self.singles or self._batches:
            is_single = bool(self.singles) and not (self._batches and self._in_a_row >= SINGLES_IN_A_ROW)
            job = self.singles.popleft() if is_single else self._next_of_a_batch()
            if job.is_waiting:  # one that was cancelled takes nobody's turn
                self._in_a_row = self._in_a_row + 1 if is_single else 0
                job.is_waiting = False
                return job
        return None

    def _next_of_a_batch(self) -> Job[Any]:
        batch = self._batches.popleft()
        job = batch.popleft()
        if batch:
            self._batches.append(batch)
        return job

    def take_back(self, count: int, since: float) -> list[Job[Any]]:
        """Give back the newest single posts that came after `since`, so that no more than `count` stay."""
        taken = []
        while len(self.singles) > count and self.singles[-1].queued > since:
            job = self.singles.pop()
            if job.is_waiting:
                job.is_waiting = False
                taken.append(job)
        return taken


class Workers:
    """Runs work that releases the interpreter's lock, such as ONNX Runtime, on every core.

    A queue is for bursts. Once a single post would wait longer than `max_wait_s`, and than for a burst, more comes than can be done, and a
    long queue only makes everybody wait: until there has been no refusal for `CALM_S`, it is kept short.
    """

    def __init__(self, threads: int, bound: int, max_wait_s: float = math.inf, *, niceness: int = BEHIND_THE_LOOP) -> None:
        """Run on `threads` threads (0: one a core), so much nicer than the process; at most `bound` pieces of work wait or run."""
        self._bound = bound
        self._max_wait_s = max_wait_s
        self._lanes = Lanes()
        self._held = 0
        self._text_s = 0.0  # that a text takes on its thread, lately
        self._crowded_until = 0.0
        self._single_at = -math.inf  # when the last single post came
        self._is_closed = False
        self._changed = threading.Condition()
        self._niceness = niceness
        self._threads = [
            threading.Thread(target=self._run, name=f"judge-{number}", daemon=True) for number in range(threads or os.cpu_count() or 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, jobs: Sequence[Job[Any]], within_s: float = math.inf) -> None:
        """Queue several jobs, all or none.

        Raises:
            QueueFullError: they do not fit below the bound, or would probably wait too long, or longer than `within_s`.

        """
        now = time.perf_counter()
        with self._changed:
            if self._is_closed:
                raise RuntimeError("these workers have been closed")
            refusal, refused = self._refusal(len(jobs), within_s, now)
            self._held -= len(refused)
            if refusal is None:
                for job in jobs:
                    job.queued = now
                self._held += len(jobs)
                self._lanes.put(jobs)
                if len(jobs) == 1:
                    self._single_at = now
                self._changed.notify(len(jobs))
        if refusal is not None:
            for job in refused:
                job.end(refusal)
            raise refusal

    async def run(self, work: Callable[[], Answer], within_s: float = math.inf) -> Answer:
        """Do a piece of work; nothing is done once it is cancelled.

        Raises:
            QueueFullError: as `submit`, or so much more has come meanwhile that there was no time for it.

        """
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        job = Job.alone(work, lambda: call_on(loop, ended.set))
        self.submit([job], within_s)
        try:
            await ended.wait()
        finally:
            self.cancel(job)
        return job.result().answer

    def cancel(self, job: Job[Any]) -> None:
        """See that a job does not run, if it still waits."""
        with self._changed:
            if not job.is_waiting:
                return
            job.is_waiting = False
            self._held -= 1
        job.end(CancelledError())

    def _refusal(self, count: int, within_s: float, now: float) -> tuple[QueueFullError | None, list[Job[Any]]]:
        """Say why `count` more can't be taken, and what that waits is refused with them."""
        before = len(self._lanes.singles) if count == 1 else self._held + count
        wait_s = before * self._text_s / len(self._threads)
        if self._held + count > self._bound or wait_s > within_s:
            return QueueFullError(self._held, wait_s), []
        is_crowded = now < self._crowded_until
        limit_s = SHORT_QUEUE * self._text_s if is_crowded else max(self._max_wait_s, BURST * self._text_s)
        if count > 1 or wait_s <= limit_s:
            return None, []
        self._crowded_until = now + CALM_S
        return QueueFullError(self._held, wait_s), self._lanes.take_back(SHORT_QUEUE * len(self._threads), now - FRESH_S)

    @property
    def is_crowded(self) -> bool:
        """Whether a post has been refused lately."""
        return time.perf_counter() < self._crowded_until

    def check(self) -> None:
        """Look whether a single post has a chance; `submit` says it finally.

        Raises:
            QueueFullError: it is crowded, and as much waits as may.

        """
        waiting = len(self._lanes.singles)
        if self.is_crowded and waiting > SHORT_QUEUE * len(self._threads):
            self._crowded_until = time.perf_counter() + CALM_S
            raise QueueFullError(self._held, waiting * self._text_s / len(self._threads))

    def _run(self) -> None:
        _give_way(self._niceness)
        while jobs := self._next():
            self._end([ended for work, alike in groupby(jobs, attrgetter("work")) for ended in self._do(work, list(alike))])
            del jobs  # an idle thread keeps nobody's text

    def _next(self) -> list[Job[Any]]:
        """Wait for jobs; none once the workers are closed."""
        with self._changed:
            while not (jobs := self._take()) and not self._is_closed:
                self._changed.wait()
            return jobs

    def _take(self) -> list[Job[Any]]:
        """Take the next job, or as many as a graph takes while the queue is long; a batch's only where no single post came lately."""
        is_calm = time.perf_counter() - self._single_at > CALM_S
        waiting = len(self._lanes.singles) + (self._lanes.of_batches if is_calm else 0)
        return list(islice(iter(self._lanes.take, None), TOGETHER if waiting >= SHORT_QUEUE * len(self._threads) else 1))

    def _end(self, ended: list[Ended]) -> None:
        with self._changed:
            self._held -= len(ended)
        for job, outcome in ended:
            job.end(outcome)

    def _do(self, work: Callable[[Sequence[Any]], Sequence[Any]], jobs: Sequence[Job[Any]]) -> list[Ended]:
        started = time.perf_counter()
        try:
            answers = work([job.item for job in jobs])
        except BaseException as error:  # noqa: BLE001 - it belongs to who asked
            if len(jobs) == 1:
                return [(jobs[0], error)]
            return [ended for job in jobs for ended in self._do(work, [job])]  # it is one's alone
        run_s = (time.perf_counter() - started) / len(jobs)
        self._text_s += (run_s - self._text_s) * (_SMOOTHING if self._text_s else 1)
        return [(job, Done(answer, started - job.queued, run_s)) for job, answer in zip(jobs, answers, strict=True)]

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return self._held == 0

    def close(self) -> None:
        """Finish what waits, then stop the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()


def call_on(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *values: object) -> None:
    """Have an event loop call something, from any thread; if it has been closed, nobody waits for that."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *values)


def _give_way(niceness: int) -> None:
    """Lower the thread's priority. On Linux alone: elsewhere it belongs to the whole process."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + niceness, LOWEST_PRIORITY))
