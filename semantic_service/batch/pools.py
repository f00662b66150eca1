"""Who judges a batch's parts: threads here, processes here; parts come back in order, and those of a worker that died are judged again."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Generic, Protocol, TypeVar

from semantic_service.batch.errors import BatchError
from semantic_service.batch.scoring import Recipe, Scored, score, score_elsewhere
from semantic_service.batch.tables import Layout, Part
from semantic_service.engine.moderator import Moderator

PARTS_AHEAD = 3  # for each worker, so that none waits for another's slow part
MAX_DEATHS = 5  # in a row, over the same part

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Work(Generic[Owner]):
    """A part to judge, and whose it is."""

    owner: Owner
    layout: Layout
    part: Part


class Pool(Protocol):
    """Workers that judge parts."""

    @property
    def workers(self) -> int:
        """How many there are."""

    def submit(self, layout: Layout, part: Part) -> Future[Scored]:
        """Have a part judged; the future raises BrokenExecutor if its worker died."""

    def restart(self) -> None:
        """Start the workers again."""

    def close(self) -> None:
        """Stop them; parts that wait are given up."""


@dataclass(slots=True)
class _Sent(Generic[Owner]):
    work: Work[Owner]
    future: Future[Scored]


def in_order(pool: Pool, parts: Iterator[Work[Owner]]) -> Iterator[tuple[Work[Owner], Scored]]:
    """Have parts judged, and give them in the order in which they came. Takes no more than PARTS_AHEAD for each worker ahead.

    Raises:
        BatchError: workers die again and again.

    """
    waiting: deque[_Sent[Owner]] = deque()
    for work in parts:
        waiting.append(_Sent(work, pool.submit(work.layout, work.part)))
        if len(waiting) > PARTS_AHEAD * pool.workers:
            yield _first(pool, waiting)
    while waiting:
        yield _first(pool, waiting)


def _first(pool: Pool, waiting: deque[_Sent[Owner]]) -> tuple[Work[Owner], Scored]:
    for _ in range(MAX_DEATHS):
        try:
            scored = waiting[0].future.result()
        except BrokenExecutor:
            pool.restart()
            for sent in waiting:
                if not sent.future.done() or sent.future.exception() is not None:
                    sent.future = pool.submit(sent.work.layout, sent.work.part)
        else:
            return waiting.popleft().work, scored
    raise BatchError(f"the workers died {MAX_DEATHS} times in a row: is there memory for {pool.workers} models? Try fewer --workers")


class Threads:
    """Threads that share a model."""

    def __init__(self, moderator: Moderator, threads: int) -> None:
        """Start `threads` threads (0: one a core)."""
        self.workers = threads or os.cpu_count() or 1
        self._moderator = moderator
        self._executor = ThreadPoolExecutor(self.workers, thread_name_prefix="judge")

    def submit(self, layout: Layout, part: Part) -> Future[Scored]:
        """Have a part judged."""
        return self._executor.submit(score, self._moderator, layout, part.content)

    def restart(self) -> None:
        """Do nothing: a thread dies with its process."""

    def close(self) -> None:
        """Stop the threads behind the parts that they are at."""
        self._executor.shutdown(cancel_futures=True)


class Processes:
    """Processes with a model each."""

    def __init__(self, recipe: Recipe, workers: int) -> None:
        self.workers = workers
        self._recipe = recipe
        self._executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)

    def submit(self, layout: Layout, part: Part) -> Future[Scored]:
        """Have a part judged; the future raises BrokenExecutor if a worker died."""
        # A terminal sends Ctrl-C to all of us. A process that this starts inherits the mask, so that it leaves Ctrl-C to this one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._executor.submit(score_elsewhere, self._recipe, layout, part.content)
        except BrokenExecutor as error:
            broken: Future[Scored] = Future()
            broken.set_exception(error)
            return broken
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def restart(self) -> None:
        """Start the processes again: when one dies, the executor ends them all."""
        self._executor.shutdown()
        self._executor = self._start()

    def close(self) -> None:
        """Stop the processes behind the parts that they are at."""
        self._executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End at once should the parent be killed: nobody else would tell this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_behind, args=[parent], daemon=True).start()


def _exit_behind(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
