"""Keeps reviews behind the answers: nobody waits for it."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable

from semantic_service.contract.reviews import Review
from semantic_service.store.errors import StoreError
from semantic_service.store.keeper import Keeper, Result

MAX_WAITING = 1024  # reviews; what comes on top is dropped
BATCH = 128  # reviews in one transaction
PAUSE_S = 0.2  # between looks at the queue, so that reviews are written together, and after their answers

log = logging.getLogger(__name__)


class Writer:
    """A bounded queue, and one thread that empties it into the keeper."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._waiting: queue.Queue[Review] = queue.Queue(MAX_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reviews", daemon=True)

    def start(self) -> None:
        """Reach for the database, and begin to write."""
        self._thread.start()

    def offer(self, review: Review) -> None:
        """Take a review to be written. Returns at once, whatever database and disk do."""
        try:
            self._waiting.put_nowait(review)
        except queue.Full:
            self._keeper.count(Result.DROPPED, 1)

    def close(self) -> None:
        """Write what waits, to the spill file if need be, and stop. Nothing may be offered any more."""
        self._stopping.set()
        self._thread.join()
        self._keeper.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._safely(self._keeper.reach)
            self._safely(self._write)
            self._stopping.wait(PAUSE_S)
        self._safely(self._write)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # the writer's door: whatever fails here is nobody's answer, and the thread goes on
            log.exception("reviews could not be written")

    def _write(self) -> None:
        while batch := self._take():
            with contextlib.suppress(StoreError):  # the keeper has counted and logged it
                self._keeper.keep(batch)

    def _take(self) -> list[Review]:
        batch: list[Review] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        return batch
