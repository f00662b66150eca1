"""One thread a core, oldest work first, and a bound on what may wait."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
LOWEST_PRIORITY = 19  # nice


class QueueFullError(Exception):
    """More work is waiting than the bound allows."""

    def __init__(self, waiting: int, bound: int) -> None:
        super().__init__(f"{waiting} texts are waiting, the bound is {bound}")


@dataclass(frozen=True, slots=True)
class Done(Generic[Answer]):
    """A piece of work's answer and how long it had waited, in seconds."""

    answer: Answer
    queue_s: float


class Workers:
    """Runs work that releases the interpreter's lock, such as ONNX Runtime, on every core."""

    def __init__(self, threads: int, bound: int, *, in_background: bool = False) -> None:
        """Run on `threads` threads (0: one a core), of the lowest priority if in background; at most `bound` pieces of work wait or run."""
        self._executor = ThreadPoolExecutor(
            threads or os.cpu_count() or 1, thread_name_prefix="judge", initializer=_give_way if in_background else None
        )
        self._bound = bound
        self._held = 0
        self._lock = threading.Lock()

    def submit(self, work: list[Callable[[], Answer]]) -> list[Future[Done[Answer]]]:
        """Queue several pieces of work, all or none.

        Raises:
            QueueFullError: they do not fit below the bound.

        """
        with self._lock:
            if self._held + len(work) > self._bound:
                raise QueueFullError(self._held, self._bound)
            self._held += len(work)
        queued = time.perf_counter()
        futures = [self._executor.submit(_timed, piece, queued) for piece in work]
        for future in futures:
            future.add_done_callback(self._release)
        return futures

    def _release(self, _: Future[Done[Answer]]) -> None:
        with self._lock:
            self._held -= 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return self._held == 0

    def close(self) -> None:
        """Finish what waits, then stop the threads."""
        self._executor.shutdown(wait=True)


def _give_way() -> None:
    if sys.platform != "linux":  # elsewhere a priority belongs to the whole process
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)


def _timed(work: Callable[[], Answer], queued: float) -> Done[Answer]:
    waited = time.perf_counter() - queued
    return Done(work(), waited)
