"""Every error as one shape; inside, nobody knows HTTP."""

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from semantic_service.api.caller import DeadlineError, GoneError
from semantic_service.api.reviewing import UnknownRequestError
from semantic_service.api.schemas import ErrorDetail
from semantic_service.contract.bundle import SelfCheckError
from semantic_service.engine.moderator import EmptyTextError
from semantic_service.engine.workers import QueueFullError
from semantic_service.store.errors import StoreError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
MAX_PROBLEMS = 5  # named in one message
MAX_MESSAGE_CHARS = 500  # an unknown field's name may be as long as the body
_CODES = {400: "malformed", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_TEXT_CODES = {"string_too_long": "text_too_long", "string_too_short": "empty_text"}


class BodyTooLargeError(HTTPException):
    """A body above the bound; an HTTPException, since FastAPI's body parser lets no other error through."""

    def __init__(self, bound: int) -> None:
        super().__init__(413, f"the body is larger than {bound:,} bytes")


def install(app: FastAPI) -> None:
    """Answer every error that routes raise in the one shape."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


def refusal(request: Request, error: Exception) -> JSONResponse:
    """Build the answer to an error of the `EXPECTED` kinds."""
    return next(handle for kind, handle in _HANDLERS.items() if isinstance(error, kind))(request, error)


def answer(status: int, detail: ErrorDetail) -> JSONResponse:
    """Build an error's answer; 429 and 503 say when to try again."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) else None
    return JSONResponse({"error": detail.model_dump()}, status, headers)


def describe(errors: Sequence[Any], request_id: str) -> ErrorDetail:
    """Say what pydantic found, without the values: they are user text."""
    first = errors[0]
    code = _TEXT_CODES.get(first["type"], "invalid_field") if first["loc"][-1:] == ("text",) else "invalid_field"
    problems = (f"{'.'.join(map(str, error['loc'])) or 'item'}: {error['msg']}" for error in errors[:MAX_PROBLEMS])
    message = "; ".join(problems)[:MAX_MESSAGE_CHARS].encode("utf-8", "replace").decode()
    return ErrorDetail(code=code, message=message, request_id=request_id)


def empty_text(error: EmptyTextError, request_id: str) -> ErrorDetail:
    """Say that a text holds nothing to judge."""
    return ErrorDetail(code="empty_text", message=str(error), request_id=request_id)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = _answer(request, error.status_code, _CODES.get(error.status_code, "http_error"), str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        return _answer(request, HTTPStatus.BAD_REQUEST, "malformed", "the body is not JSON")
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, describe(errors, request.state.request_id))


def _on_empty_text(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EmptyTextError)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, empty_text(error, request.state.request_id))


def _on_full_queue(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, HTTPStatus.TOO_MANY_REQUESTS, "overloaded", str(error))


def _on_deadline(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, HTTPStatus.GATEWAY_TIMEOUT, "deadline", str(error))


def _on_gone(request: Request, error: Exception) -> JSONResponse:  # nobody hears it, but log and metrics say it
    return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, "caller_gone", str(error))


def _on_failed_self_check(request: Request, error: Exception) -> JSONResponse:
    log.error("self-check failed: %s", error)  # it names paths, which are no caller's business
    return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "the model does not answer its self-check; the log says how")


def _on_unknown_request(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, HTTPStatus.NOT_FOUND, "not_found", str(error))


def _on_no_store(request: Request, error: Exception) -> JSONResponse:
    log.error("feedback refused: %s", error)  # it names the database, which is no caller's business
    return _answer(
        request, HTTPStatus.SERVICE_UNAVAILABLE, "no_store", "the review store can't be reached: with its text, feedback can wait"
    )


def _answer(request: Request, status: int, code: str, message: str) -> JSONResponse:
    return answer(status, ErrorDetail(code=code, message=message, request_id=request.state.request_id))


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
    HTTPException: _on_http,
    RequestValidationError: _on_validation,
    EmptyTextError: _on_empty_text,
    QueueFullError: _on_full_queue,
    DeadlineError: _on_deadline,
    GoneError: _on_gone,
    SelfCheckError: _on_failed_self_check,
    UnknownRequestError: _on_unknown_request,
    StoreError: _on_no_store,
}
EXPECTED = tuple(_HANDLERS)  # what routes raise for a caller to hear
