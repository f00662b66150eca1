"""What no answer waits for: log lines, metrics, what is kept of a post."""

import asyncio
from collections import deque
from collections.abc import Callable

PAUSE_S = 0.2  # after the first of several answers, which are then followed up together


class Afterwards:
    """Work on an event loop, done for many answers at a time: for each alone its code would have gone from the caches."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()

    def put(self, work: Callable[[], object]) -> None:
        """Do it soon, in the order in which it was put."""
        if not self._waiting:
            self._do_later()
        self._waiting.append(work)

    def do(self) -> None:
        """Do now what waits. Of what fails the loop logs where, and the rest follows later."""
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._do_later()

    def _do_later(self) -> None:
        asyncio.get_running_loop().call_later(PAUSE_S, self.do)
