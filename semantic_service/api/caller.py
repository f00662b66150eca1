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
        self._has_gone = False

    @classmethod
    def of(cls, request: Request) -> Self:
        """Know the caller from a request.

        Raises:
            RequestValidationError: `X-Request-Timeout-Ms` is no positive number.

        """
        sent = request.headers.get(_HEADER)
        if sent is None:
            return cls(request.state.request_id, request.receive)
        try:
            return cls(request.state.request_id, request.receive, _TIMEOUT_MS.validate_python(sent) / 1000)
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
        watching: asyncio.Task[None] | None = None
        timeout = asyncio.timeout_at(self._until)

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
