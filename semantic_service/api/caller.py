"""Who waits for an answer: how long, and whether still."""

import asyncio
import math
from collections.abc import Awaitable
from typing import Annotated, Any, Self, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError
from starlette.types import Receive

Answer = TypeVar("Answer")
PROMPT_S = 0.5  # sooner than this nobody looks whether the caller is still there: it costs a task
_HEADER = "X-Request-Timeout-Ms"
_RAW_HEADER = _HEADER.lower().encode()
_TIMEOUT_MS = TypeAdapter[int](Annotated[int, Field(gt=0, le=3_600_000)])
TIMEOUT_DESCRIBED: dict[str, Any] = {
    "parameters": [
        {
            "name": _HEADER,
            "in": "header",
            "required": False,
            "description": "how long the caller waits; afterwards the answer is 504, or 429 at once if it would probably take longer",
            "schema": _TIMEOUT_MS.json_schema(),
        }
    ]
}


class DeadlineError(Exception):
    """The caller's time is up."""

    def __init__(self) -> None:
        super().__init__(f"there was no answer within {_HEADER}")


class GoneError(Exception):
    """The caller has closed the connection."""

    def __init__(self) -> None:
        super().__init__("the caller has closed the connection")


class Caller:
    """Who sent a request, once its body has been read."""

    def __init__(self, request_id: str, receive: Receive, within_s: float = math.inf) -> None:
        self.request_id = request_id
        self._receive = receive
        self._until = None if within_s == math.inf else asyncio.get_running_loop().time() + within_s
        self._why: Exception | None = None  # nobody waits any more
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Know the caller from a request.

        Raises:
            RequestValidationError: `X-Request-Timeout-Ms` is no positive number.

        """
        sent = dict(request.scope["headers"]).get(_RAW_HEADER)
        if sent is None:
            return cls(request.state.request_id, request.receive)
        try:
            return cls(request.state.request_id, request.receive, _TIMEOUT_MS.validate_python(sent.decode("latin-1")) / 1000)
        except ValidationError as error:
            raise RequestValidationError([{**each, "loc": ("header", _HEADER)} for each in error.errors()]) from error

    @property
    def within_s(self) -> float:
        """How long the caller still waits."""
        return math.inf if self._until is None else max(0.0, self._until - asyncio.get_running_loop().time())

    async def wait_for(self, answer: Awaitable[Answer]) -> Answer:
        """Give an answer; it is cancelled once nobody wants it any more.

        Raises:
            DeadlineError: the caller's time is up.
            GoneError: the caller has closed the connection.

        """
        loop, future = asyncio.get_running_loop(), asyncio.ensure_future(answer)
        timers = [loop.call_later(PROMPT_S, self._begin_to_watch, future)]
        if self._until is not None:
            timers.append(loop.call_at(self._until, self._give_up, future, DeadlineError()))
        try:
            return await future
        except asyncio.CancelledError:
            why = self._why
            if why is None:
                raise
        finally:
            for timer in timers:
                timer.cancel()
            if self._watching is not None:
                self._watching.cancel()
        raise why  # here, since an error that is raised while another is handled holds that one and its frames

    def _give_up(self, answer: asyncio.Future[Any], why: Exception) -> None:
        self._why = why
        answer.cancel()

    def _begin_to_watch(self, answer: asyncio.Future[Any]) -> None:
        self._watching = asyncio.create_task(self._watch(answer))

    async def _watch(self, answer: asyncio.Future[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the body has been read: nothing else is to come
        self._give_up(answer, GoneError())
