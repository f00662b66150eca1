"""What the event loop does while more comes than can be judged: posts are refused, and unread where even reading them takes too long."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from semantic_service.engine.workers import QueueFullError, Workers

LOOK_S = 0.005  # between looks at how late the event loop is
LATE_S = 0.002  # from here on it is behind
CATCHES_UP_S = 0.1  # and stays so, for it would be behind again at once
LOGGED_S = 1.0  # refusals share a log line: who is flooded has no time to write about each

log = logging.getLogger(__name__)


class Overload:
    """Counts refusals, and knows whether the event loop falls behind; it looks only while there are any."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._late_until = 0.0  # of the loop's clock
        self._is_looking = False
        self._refused = 0  # and not logged yet

    def check(self) -> None:
        """Refuse a post that would be refused anyway, after it had made others wait longer.

        Raises:
            QueueFullError: the event loop is behind, and as much waits as may wait.

        """
        if asyncio.get_running_loop().time() < self._late_until:
            with self.noted():
                self._workers.check()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a refusal in this block."""
        try:
            yield
        except QueueFullError:
            self._note()
            raise

    def _note(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._refused:
            loop.call_later(LOGGED_S, self._say)
        self._refused += 1
        if not self._is_looking:
            self._is_looking = True
            self._look_later(loop)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + LOOK_S
        loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if loop.time() - due > LATE_S:
            self._late_until = loop.time() + CATCHES_UP_S
        self._is_looking = self._workers.is_crowded
        if self._is_looking:
            self._look_later(loop)

    def _say(self) -> None:
        log.warning("requests refused, more came than can be judged", extra={"requests": self._refused})
        self._refused = 0
