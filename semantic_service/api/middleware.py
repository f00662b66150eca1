"""Around every request: an id, a bound on the body, the last door for errors, a metric and a log line without user text."""

import json
import logging
import random
import re
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semantic_service.api.afterwards import Afterwards
from semantic_service.api.errors import BodyTooLargeError, answer
from semantic_service.api.metrics import Metrics
from semantic_service.api.schemas import ErrorDetail

MAX_BODY_BYTES = 4 * 1024 * 1024
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

log = logging.getLogger("semantic_service.access")


class RequestMiddleware:
    """Plain ASGI, since Starlette's own middleware class costs a task a request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, afterwards: Afterwards) -> None:
        self._app = app
        self._metrics = metrics
        self._afterwards = afterwards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            length = headers.get(b"content-length")
            if length is not None and int(length) > MAX_BODY_BYTES:
                detail = ErrorDetail(code="body_too_large", message=BodyTooLargeError(MAX_BODY_BYTES).detail, request_id=request_id)
                await answer(413, detail)(scope, receive, send_with_id)
            else:  # the server holds a body to the length that is told
                await self._app(scope, _bounded(receive) if length is None else receive, send_with_id)
        except Exception as error:  # the request's door
            log.error(  # noqa: TRY400 - no exc_info: its message can quote user text
                "request failed",
                extra={"request_id": request_id, "error": type(error).__name__, "traceback": traceback.format_tb(error.__traceback__)},
            )
            if status:  # the answer has begun: let the server cut the connection
                raise
            detail = ErrorDetail(code="internal", message="internal error; the log has it under this request id", request_id=request_id)
            await answer(500, detail)(scope, receive, send_with_id)
        finally:
            self._afterwards.put(
                partial(self._record, scope.get("route"), scope["state"], status, time.perf_counter() - started, time.time())
            )

    def _record(self, matched: object, state: Mapping[str, Any], status: int, seconds: float, now: float) -> None:
        route = getattr(matched, "path", "unknown")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if status == HTTPStatus.TOO_MANY_REQUESTS:  # Overload logs them together
            return
        fields = {"request_id": state["request_id"], "route": route, "status": status, "seconds": round(seconds, 6), "time": _time(now)}
        log.info("request", extra=fields | state.get("summary", {}))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _request_id(sent: str) -> str:
    return sent if _REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}"


def _bounded(receive: Receive) -> Receive:
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise BodyTooLargeError(MAX_BODY_BYTES)
        return message

    return bounded


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the record's extra fields."""

    _ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
    _STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        entry: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in vars(record).items() if key not in self._STANDARD}
        if record.exc_info and record.exc_info[1]:
            entry["error"] = type(record.exc_info[1]).__name__
            entry["traceback"] = traceback.format_tb(record.exc_info[2])
        return self._ENCODER.encode(entry)
