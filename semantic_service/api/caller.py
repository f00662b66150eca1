"""Who waits for an answer: how long, and whether still."""

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

Answer = TypeVar("Answer")
PROMPT_S = 0.05  # sooner than this nobody looks whether the caller is still there: it costs a task


class DeadlineError(Exception):
    """The caller's time is up."""

    def __init__(self) -> None:
        super().__init__("there was no answer within X-Request-Timeout-Ms")


class GoneError(Exception):
    """The caller has closed the connection."""

    def __init__(self) -> None:
        super().__init__("the caller has closed the connection")


class Caller:
    """Who sent a request, once its body has been read."""

    def __init__(self, request_id: str, receive: Receive, timeout_ms: int | None) -> None:
        self.request_id = request_id
        self.within_s = math.inf if timeout_ms is None else timeout_ms / 1000
        self._receive = receive
        self._has_gone = False

    async def wait_for(self, answer: Awaitable[Answer]) -> Answer:
        """Give an answer; it is cancelled once nobody wants it any more.

        Raises:
            DeadlineError: the caller's time is up.
            GoneError: the caller has closed the connection.

        """
        watching: asyncio.Task[None] | None = None
        timeout = asyncio.timeout(None if self.within_s == math.inf else self.within_s)

        def watch() -> None:
            nonlocal watching
            watching = asyncio.create_task(self._watch(timeout))

        later = asyncio.get_running_loop().call_later(PROMPT_S, watch)
        try:
            async with timeout:
                return await answer
        except TimeoutError:
            raise (GoneError if self._has_gone else DeadlineError) from None
        finally:
            later.cancel()
            if watching is not None:
                watching.cancel()

    async def _watch(self, timeout: asyncio.Timeout) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the body has been read: nothing else is to come
        self._has_gone = True
        timeout.reschedule(0)
