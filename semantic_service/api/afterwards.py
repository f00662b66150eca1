"""What no answer waits for: log lines, metrics, what is kept of a post."""

import asyncio
from collections import deque
from collections.abc import Callable

PAUSE_S = 0.2  # after the first of several answers, which are then followed up together
AT_A_TIME = 32  # pieces of work, about a millisecond: what comes meanwhile need not wait for all


class Afterwards:
    """Work on an event loop, done for many answers at a time: for each alone its code would have gone from the caches."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()

    def put(self, work: Callable[[], object]) -> None:
        """Do it soon, in the order in which it was put."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(PAUSE_S, self._do_some)
        self._waiting.append(work)

    def do(self) -> None:
        """Do now all that waits. When something fails, the rest follows soon."""
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            self._go_on()

    def _do_some(self) -> None:
        """Do some of it, then let others have the loop. Of what fails the loop logs where."""
        try:
            for _ in range(min(AT_A_TIME, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._do_some)
