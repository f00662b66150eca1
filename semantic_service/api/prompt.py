"""Routes that FastAPI describes, and whose requests it does not take apart: that takes longer than all else beside the model."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException


class PromptRoute(APIRoute):
    """Its endpoint takes the body, by its model, and the request, and gives a model; its dependencies take the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give what FastAPI calls for each request."""
        [body] = self.dependant.body_params
        assert body.field_info.annotation is not None
        model: TypeAdapter[Any] = TypeAdapter(body.field_info.annotation)

        async def answer(request: Request) -> Response:
            for dependency in self.dependencies:
                assert dependency.dependency is not None
                await dependency.dependency(request)
            answered = await self.endpoint(_parse(model, await _read(request)), request)
            return Response(answered.model_dump_json(), media_type="application/json")

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except Exception as error:  # raised through FastAPI it would cost as much again, and refusals must be cheap
                if (handler := request.app.exception_handlers.get(type(error))) is None:
                    raise
                refusal: Response = handler(request, error)
                return refusal

        return handle


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
