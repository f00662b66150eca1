"""The routes that are asked for every post: FastAPI describes them, but takes longer than all else beside the model to serve them."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from semantic_service.api import errors


class PromptRoute:
    """Its endpoint takes the body, by its model, and the request, and gives a model; its dependencies take the request."""

    def __init__(self, route: APIRoute) -> None:
        """Take over a route's requests."""
        [body] = route.dependant.body_params
        assert body.field_info.annotation is not None
        self._body: TypeAdapter[Any] = TypeAdapter(body.field_info.annotation)
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["route"] = self._route
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            for dependency in self._route.dependencies:
                assert dependency.dependency is not None
                await dependency.dependency(request)
            answered = await self._route.endpoint(_parse(self._body, await _read(request)), request)
        except errors.EXPECTED as error:
            return errors.refusal(request, error)
        return Response(answered.model_dump_json(), media_type="application/json")


class PromptSwitch:
    """Gives what is posted to some paths to apps of their own, and everything else to another."""

    def __init__(self, app: ASGIApp, by_path: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._by_path = by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._by_path.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (app or self._app)(scope, receive, send)


async def _read(request: Request) -> object:
    """Give a JSON body's value; a body that is not said to be JSON is bytes, which no model takes."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))):
        return await request.body()
    if not await request.body():
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    try:
        return await request.json()
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error


def _parse(model: TypeAdapter[Any], sent: object) -> Any:
    try:
        return model.validate_python(sent)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error
