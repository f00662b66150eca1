"""Hear from Label Studio that somebody answered: a small HTTP receiver that answers at once."""

import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import create_server
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, Request, Response, status

from annotation.errors import WebhookPortError
from annotation.settings import SECRET_HEADER

PATH = "/webhook"


def create_app(secret: str, answered: Callable[[], object]) -> FastAPI:
    """Make the receiver: `answered` is called, and must return at once, for each event about annotations that carries the secret.

    Label Studio delivers synchronously, unsigned, and once: so nothing is read from an event but that there is something to pull.
    """
    app = FastAPI(title="annotation webhook", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post(PATH, status_code=status.HTTP_204_NO_CONTENT)
    async def receive(request: Request, given: Annotated[str, Header(alias=SECRET_HEADER)] = "") -> Response:
        if not hmac.compare_digest(given.encode(), secret.encode()):
            return Response(status_code=status.HTTP_401_UNAUTHORIZED)
        if _is_about_annotations(await request.body()):
            answered()
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    return app


def _is_about_annotations(body: bytes) -> bool:
    with suppress(ValueError, AttributeError, RecursionError):
        return str(json.loads(body).get("action")).startswith("ANNOTATION")
    return False


@contextmanager
def receiving(address: tuple[str, int], secret: str, answered: Callable[[], object]) -> Iterator[int]:
    """Listen in a thread until the block ends; gives the port.

    Raises:
        WebhookPortError: the address can't be listened at.

    """
    try:
        socket = create_server(address)
    except OSError as error:
        host, port = address
        raise WebhookPortError(f"can't listen at {host}:{port} ({error}): see ANNOTATION_WEBHOOK_HOST and _PORT") from error
    server = uvicorn.Server(uvicorn.Config(create_app(secret, answered), log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, name="webhook")
    thread.start()
    try:
        yield socket.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        socket.close()
