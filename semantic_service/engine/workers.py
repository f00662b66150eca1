"""One thread a core and a bounded queue before them: single posts first, batches in the gaps."""

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, TypeVar

from semantic_service.contract.bundle import TOGETHER
from semantic_service.engine.lanes import Answer, Done, Ended, Job, Lanes

BEHIND_THE_LOOP = 10  # nicer than the thread that reads and refuses requests, which else falls behind where more comes than can be done
LOWEST_PRIORITY = 19  # nice
BURST = 32  # texts a thread that may wait however slow the model is
SHORT_QUEUE = 3  # texts a thread: enough that no thread idles, and all that waits while more comes than can be done
TOLD_AT_ONCE = 2 * TOGETHER  # answers while the queue is long: whoever is woken for one finds its code still in the caches for the next
CALM_S = 1.0  # without a refusal, after which the queue may be long again
SHORT_S, SHORT_AT_MOST_S = 4.0, 32.0  # after which it may be so in any case: the first time, then after twice as long each time
FRESH_S = 0.1  # what has waited less can still be refused; who has waited longer is answered
Made = TypeVar("Made")
_SMOOTHING = 1 / 32  # of the time that a text takes


class QueueFullError(Exception):
    """More work is waiting than can be done in useful time."""

    def __init__(self, waiting: int, wait_s: float) -> None:
        super().__init__(f"{waiting} texts are waiting, which would take about {1000 * wait_s:.0f} ms: try again later")


class Workers:
    """Runs work that releases the interpreter's lock, such as ONNX Runtime, on every core.

    While the queue is long, a thread takes several jobs at once, and leaves their answers to be told by who ends next.

    A queue is for bursts. Once a single post would wait longer than `max_wait_s`, and than for a burst, more comes than can be done, and a
    long queue only makes everybody wait: until there has been no refusal for `CALM_S`, it is kept short. Callers who come again at once
    are refused as long as it is short, although it would hold them all: so now and then it is long whoever has been refused.
    """

    def __init__(self, threads: int, bound: int, max_wait_s: float = math.inf, *, niceness: int = BEHIND_THE_LOOP) -> None:
        """Run on `threads` threads (0: one a core), so much nicer than the process; at most `bound` pieces of work wait or run."""
        self._bound = bound
        self._max_wait_s = max_wait_s
        self._lanes = Lanes()
        self._held = 0
        self._text_s = 0.0  # that a text takes on its thread, lately
        self._crowded_until = -math.inf
        self._short_s = SHORT_S  # how long the queue is short at most
        self._long_at = -math.inf  # and when that ends
        self._single_at = -math.inf  # when the last single post came
        self._is_closed = False
        self._untold: list[Ended] = []  # what has ended, of which nobody has been told
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
        job = Job.alone(work, lambda _: call_on(loop, ended.set))
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
        self._crowd(now)
        return QueueFullError(self._held, wait_s), self._lanes.take_back(SHORT_QUEUE * len(self._threads), now - FRESH_S)

    def _crowd(self, now: float) -> None:
        """Keep the queue short from now on, or longer."""
        if now >= self._crowded_until:
            is_again = now < self._crowded_until + CALM_S
            self._short_s = min(2 * self._short_s, SHORT_AT_MOST_S) if is_again else SHORT_S
            self._long_at = now + self._short_s
        self._crowded_until = min(now + CALM_S, self._long_at)

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
            self._crowd(time.perf_counter())
            raise QueueFullError(self._held, waiting * self._text_s / len(self._threads))

    def _run(self) -> None:
        _give_way(self._niceness)
        while jobs := self._take() or self._wait():
            if not all(job.is_short for job in jobs):
                self._tell()  # no answer waits for a long text
            runs = [_Run(list(alike)) for _, alike in groupby(jobs, attrgetter("prepare"))]
            if not self._may_wait():
                self._tell()  # once all is ready for the model: who is told wants the interpreter's lock
            for run in runs:
                self._note(run.outcomes())
            del jobs, runs, run  # an idle thread keeps nobody's text

    def _take(self) -> list[Job[Any]]:
        """Take the next job, or as many as a graph takes while the queue is long."""
        with self._changed:
            return list(islice(iter(self._lanes.take, None), TOGETHER if self._is_long() else 1))

    def _wait(self) -> list[Job[Any]]:
        """Wait for jobs; none once the workers are closed."""
        self._tell()
        with self._changed:
            while not (jobs := self._take()) and not self._is_closed:
                self._changed.wait()
            return jobs

    def _is_long(self) -> bool:
        """Whether every thread finds enough waiting; of batches only where no single post came lately."""
        is_calm = time.perf_counter() - self._single_at > CALM_S
        return len(self._lanes.singles) + (self._lanes.of_batches if is_calm else 0) >= SHORT_QUEUE * len(self._threads)

    def _may_wait(self) -> bool:
        """Whether what has ended may be told with what ends next."""
        with self._changed:
            return len(self._untold) < TOLD_AT_ONCE and self._is_long()

    def _note(self, ended: list[Ended]) -> None:
        with self._changed:
            for _, outcome in ended:
                if isinstance(outcome, Done):
                    self._text_s += (outcome.run_s - self._text_s) * (_SMOOTHING if self._text_s else 1)
            self._held -= len(ended)
            self._untold += ended

    def _tell(self) -> None:
        with self._changed:
            ended, self._untold = self._untold, []
        for job, outcome in ended:
            job.end(outcome)

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


class _Run:
    """Jobs whose items one call takes, made ready for it."""

    def __init__(self, jobs: Sequence[Job[Any]]) -> None:
        self._jobs = jobs
        self._started = time.perf_counter()
        self._work = _attempt(partial(jobs[0].prepare, [job.item for job in jobs]))

    def outcomes(self) -> list[Ended]:
        """Do the work; a failure is one job's alone."""
        answers = self._work if isinstance(self._work, BaseException) else _attempt(self._work)
        if isinstance(answers, BaseException):
            if len(self._jobs) == 1:
                return [(self._jobs[0], answers)]
            return [ended for job in self._jobs for ended in _Run([job]).outcomes()]
        run_s = (time.perf_counter() - self._started) / len(self._jobs)
        return [(job, Done(answer, self._started - job.queued, run_s)) for job, answer in zip(self._jobs, answers, strict=True)]


def _attempt(work: Callable[[], Made]) -> Made | BaseException:
    """Do something for somebody else, to whom its error belongs."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - it belongs to who asked
        return error


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
