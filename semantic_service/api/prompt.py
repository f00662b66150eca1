"""The routes that are asked for every post: FastAPI describes them, but takes longer than all else beside the model to serve them."""

import json
from contextlib import suppress
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from semantic_service.api import errors

_JSON = (b"content-type", b"application/json")


class PromptRoute:
    """Its endpoint takes the body, by its model, and the request, and gives a model; its dependencies take the request."""

    def __init__(self, route: APIRoute) -> None:
        """Take over a route's requests."""
        [body] = route.dependant.body_params
        assert body.field_info.annotation is not None
        self._body: TypeAdapter[Any] = TypeAdapter(body.field_info.annotation)
        dependencies: list[Any] = [dependency.dependency for dependency in route.dependencies]
        self._checks = [
            check for check in dependencies if not isinstance(check, SecurityBase)
        ]  # those describe the API, `check` reads keys
        self._endpoint = route.endpoint
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            for check in self._checks:
                await check(request)
            answer: BaseModel = await self._endpoint(self._parse(request, await _read(receive)), request)
        except errors.EXPECTED as error:
            error.__traceback__ = None  # its frames hold it in turn: refusals would be the collector's, which stops everything for 20 ms
            await errors.refusal(request, error)(scope, receive, send)
            return
        body = answer.model_dump_json().encode()
        await send({"type": "http.response.start", "status": 200, "headers": [_JSON, (b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    def _parse(self, request: Request, body: bytes) -> Any:
        if _JSON in request.scope["headers"]:
            with suppress(ValidationError):  # what is wrong with it, or unusual, is found below
                return self._body.validate_json(body)
        try:
            return self._body.validate_python(_value(request, body))
        except ValidationError as error:
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error


async def _read(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def _value(request: Request, body: bytes) -> object:
    """Give a JSON body's value; a body that is not said to be JSON is bytes, which no model takes."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))):
        return body
    if not body:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error
