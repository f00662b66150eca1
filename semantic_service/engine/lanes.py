"""Work and how it waits: single posts first, batches in the gaps."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

Answer = TypeVar("Answer")
Prepare = Callable[[Sequence[Any]], Callable[[], Sequence[Answer]]]  # makes items ready; what it gives does the work itself
SINGLES_IN_A_ROW = 15  # then a batch has its turn, if one waits: batches get a sixteenth of a busy machine, and never starve


@dataclass(frozen=True, slots=True)
class Done(Generic[Answer]):
    """A piece of work's answer, how long it had waited, and its share of the time that the run took, in seconds."""

    answer: Answer
    queue_s: float
    run_s: float


class Job(Generic[Answer]):
    """A piece of work, and what became of it. Lighter than a future of the standard library, which brings a lock of its own."""

    __slots__ = ("_told", "is_short", "is_waiting", "item", "outcome", "prepare", "queued")

    def __init__(self, prepare: Prepare[Answer], item: object, told: "Callable[[Job[Answer]], object]", *, is_short: bool = False) -> None:
        """Have something done with `item`, perhaps with other jobs' items at once; `is_short` if others' answers may wait for it.

        `told` is called with the job once it has ended, on the thread that ends it: a worker's, or that of who submits or cancels.
        """
        self.prepare = prepare
        self.item = item
        self.is_short = is_short
        self.queued = 0.0  # by time.perf_counter
        self.is_waiting = True
        self.outcome: Done[Answer] | BaseException | None = None
        self._told = told

    @classmethod
    def alone(cls, work: Callable[[], Answer], told: "Callable[[Job[Answer]], object]") -> Self:
        """Have something done that is not done for several at once."""
        return cls(lambda _: lambda: [work()], None, told)

    def end(self, outcome: Done[Answer] | BaseException) -> None:
        """Tell what became of it."""
        told = self._told
        del self.prepare, self.item, self._told  # they hold a text, and whoever holds this job
        self.outcome = outcome
        told(self)

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
