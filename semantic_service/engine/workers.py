"""One thread a core and a bounded queue before them: single posts first, batches in the gaps."""

import contextlib
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
BEHIND_THE_LOOP = 10  # nicer than the thread that reads and refuses requests, which else falls behind where more comes than can be done
LOWEST_PRIORITY = 19  # nice
SINGLES_IN_A_ROW = 15  # then a batch has its turn, if one waits: batches get a sixteenth of a busy machine, and never starve
BURST = 32  # texts a thread that may wait however slow the model is
SHORT_QUEUE = 4  # texts a thread: enough that no thread idles, and all that waits while more comes than can be done
TOGETHER = 4  # answers of a thread, given at once while the queue is long: whenever the loop wakes, its code has gone from the caches
CALM_S = 1.0  # without a refusal, after which the queue may be long again
FRESH_S = 0.1  # what has waited less can still be refused; who has waited longer is answered
_SMOOTHING = 1 / 32  # of the time that a text takes


class QueueFullError(Exception):
    """More work is waiting than can be done in useful time."""

    def __init__(self, waiting: int, wait_s: float) -> None:
        super().__init__(f"{waiting} texts are waiting, which would take about {1000 * wait_s:.0f} ms: try again later")


@dataclass(frozen=True, slots=True)
class Done(Generic[Answer]):
    """A piece of work's answer, how long it had waited and how long it took, in seconds."""

    answer: Answer
    queue_s: float
    run_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A piece of work that waits."""

    work: Callable[[], Any]
    queued: float  # by time.perf_counter
    future: Future[Done[Any]] = field(default_factory=Future)


class Lanes:
    """What waits: single posts, oldest first, and batches, which take turns text by text."""

    def __init__(self) -> None:
        self.singles: deque[Job] = deque()
        self._batches: deque[deque[Job]] = deque()
        self._in_a_row = 0

    def put(self, jobs: Sequence[Job]) -> None:
        """Let jobs wait; what comes alone is a single post."""
        if len(jobs) == 1:
            self.singles.append(jobs[0])
        elif jobs:
            self._batches.append(deque(jobs))

    def take(self) -> Job | None:
        """Give the next job; None if nothing waits."""
        while self._batches and (not self.singles or self._in_a_row >= SINGLES_IN_A_ROW):
            batch = self._batches.popleft()
            job = batch.popleft()
            if batch:
                self._batches.append(batch)
            if not job.future.cancelled():  # one that was takes nobody's turn
                self._in_a_row = 0
                return job
        self._in_a_row += 1
        return self.singles.popleft() if self.singles else None

    def take_back(self, count: int, since: float) -> list[Job]:
        """Give back the newest single posts that came after `since`, so that no more than `count` stay."""
        taken = []
        while len(self.singles) > count and self.singles[-1].queued > since:
            taken.append(self.singles.pop())
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
        self._is_closed = False
        self._changed = threading.Condition()
        self._niceness = niceness
        self._threads = [
            threading.Thread(target=self._run, name=f"judge-{number}", daemon=True) for number in range(threads or os.cpu_count() or 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Sequence[Callable[[], Answer]], within_s: float = math.inf) -> list[Future[Done[Answer]]]:
        """Queue several pieces of work, all or none; cancel a future, and its work does not run if it still waits.

        Raises:
            QueueFullError: they do not fit below the bound, or would probably wait too long, or longer than `within_s`.

        """
        now = time.perf_counter()
        jobs: list[Job] = []
        with self._changed:
            if self._is_closed:
                raise RuntimeError("these workers have been closed")
            refusal, refused = self._refusal(len(work), within_s, now)
            if refusal is None:
                jobs += [Job(piece, now) for piece in work]
                self._held += len(jobs)
                self._lanes.put(jobs)
                self._changed.notify(len(jobs))
        for job in refused:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(refusal)
        if refusal is not None:
            raise refusal
        for job in jobs:
            job.future.add_done_callback(self._release)
        return [job.future for job in jobs]

    def _refusal(self, count: int, within_s: float, now: float) -> tuple[QueueFullError | None, list[Job]]:
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

    def _release(self, _: Future[Done[Any]]) -> None:
        with self._changed:
            self._held -= 1

    def _run(self) -> None:
        _give_way(self._niceness)
        answers: list[Callable[[], None]] = []
        while (job := self._next(answers)) is not None:
            if job.future.set_running_or_notify_cancel():
                answers.append(self._do(job))
            del job  # an idle thread keeps nobody's text

    def _next(self, answers: list[Callable[[], None]]) -> Job | None:
        """Give the answers that it is time for, then the next job."""
        with self._changed:
            job = self._lanes.take()
            is_long = len(self._lanes.singles) >= SHORT_QUEUE * len(self._threads)
        if job is None or len(answers) >= TOGETHER or not is_long:
            for answer in answers:
                answer()
            answers.clear()
        if job is not None:
            return job
        with self._changed:
            while (job := self._lanes.take()) is None and not self._is_closed:
                self._changed.wait()
            return job

    def _do(self, job: Job) -> Callable[[], None]:
        started = time.perf_counter()
        try:
            answer = job.work()
        except BaseException as error:  # noqa: BLE001 - it belongs to who asked
            return partial(job.future.set_exception, error)
        run_s = time.perf_counter() - started
        self._text_s += (run_s - self._text_s) * (_SMOOTHING if self._text_s else 1)
        return partial(job.future.set_result, Done(answer, started - job.queued, run_s))

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


def _give_way(niceness: int) -> None:
    """Lower the thread's priority. On Linux alone: elsewhere it belongs to the whole process."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + niceness, LOWEST_PRIORITY))
