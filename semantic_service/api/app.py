"""Wires the app together."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Receive, Scope, Send

from semantic_service.api import errors
from semantic_service.api.middleware import RequestMiddleware
from semantic_service.api.prompt import PromptRoute
from semantic_service.api.reviewing import Archive
from semantic_service.api.routes import prompt, router
from semantic_service.api.security import Keys
from semantic_service.api.service import Service
from semantic_service.engine.live import Live
from semantic_service.engine.shadow import Challenger
from semantic_service.engine.workers import Workers

_DESCRIPTION = """Judges Chinese posts: **compliant 合规**, **suspicious 疑似** or **violation 违规**.

Every answer carries `X-Request-ID`; every error is `{"error": {"code", "message", "request_id"}}`."""


NO_KEYS = Keys()


class App:
    """A FastAPI app, past which what is posted to some paths goes straight to apps of their own."""

    def __init__(self, described: FastAPI, prompt: Mapping[str, ASGIApp]) -> None:
        self.state = described.state
        self._described = described
        self._prompt = prompt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the app's lifespan."""
        straight = self._prompt.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if straight is None:
            await self._described(scope, receive, send)
            return
        scope["app"] = self._described
        await straight(scope, receive, send)


def create_app(  # noqa: PLR0913 - what a process is made of
    live: Live,
    workers: Workers,
    keys: Keys = NO_KEYS,
    challenger: Challenger | None = None,
    archive: Archive | None = None,
    *,
    remembered: int = 0,
) -> App:
    """Build the app on a loaded model, with so many scores remembered; when it stops, what waits is finished and the workers are closed."""
    service = Service(live, workers, challenger, archive, remembered=remembered)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        watch = asyncio.create_task(service.watch())
        yield
        watch.cancel()
        try:
            service.afterwards.do()
        finally:
            await asyncio.to_thread(service.close)

    app = FastAPIOffline(
        title="Chinese content moderation", description=_DESCRIPTION, lifespan=lifespan, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.state.keys = keys
    app.include_router(prompt)
    app.include_router(router)
    errors.install(app)
    app.add_middleware(RequestMiddleware, metrics=service.metrics, afterwards=service.afterwards)
    routes = [route for route in prompt.routes if isinstance(route, APIRoute)]
    return App(app, {route.path: RequestMiddleware(PromptRoute(route), service.metrics, service.afterwards) for route in routes})
