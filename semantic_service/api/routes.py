"""The routes: one function each, no logic of their own."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError

from semantic_service.api.caller import TIMEOUT_DESCRIBED, Caller
from semantic_service.api.errors import describe, empty_text
from semantic_service.api.schemas import (
    BatchAnswer,
    BatchRequest,
    ClassifyAnswer,
    ClassifyRequest,
    ErrorAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    Health,
    ItemError,
    ModelAnswer,
)
from semantic_service.api.security import Scope, require
from semantic_service.api.service import Service
from semantic_service.engine.moderator import EmptyTextError
from semantic_service.store.errors import StoreError

_PAGE = (Path(__file__).parent / "index.html").read_text(encoding="utf-8")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ERRORS: dict[int | str, dict[str, object]] = {status: {"model": ErrorAnswer} for status in (400, 401, 403, 413, 422, 503)}
_CLASSIFY_ERRORS = _ERRORS | {status: {"model": ErrorAnswer} for status in (429, 504)}
_FEEDBACK_ERRORS = _ERRORS | {404: {"model": ErrorAnswer}}
_KEY_ERRORS: dict[int | str, dict[str, object]] = {status: _ERRORS[status] for status in (401, 403)}
_MAY_CLASSIFY = require(Scope.CLASSIFY)
_MAY_REVIEW = require(Scope.REVIEW)
_MAY_ADMINISTER = require(Scope.ADMIN)


def _service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _service(request: Request) -> Service:  # FastAPI runs a plain function on a thread of its own
    return _service_of(request)


async def _check_overload(request: Request) -> None:
    _service_of(request).overload.check()


prompt = APIRouter(responses=_CLASSIFY_ERRORS, dependencies=[Depends(_check_overload), *_MAY_CLASSIFY])
router = APIRouter()
Serving = Annotated[Service, Depends(_service)]


@prompt.post("/classify", openapi_extra=TIMEOUT_DESCRIBED)
async def classify(post: ClassifyRequest, request: Request) -> ClassifyAnswer:
    """Judge one post."""
    service, caller = _service_of(request), Caller.of(request)
    [judgement] = await service.judge(service.live.moderator, [post], caller)
    if isinstance(judgement, EmptyTextError):
        raise judgement
    request.state.summary = {
        "chars": len(post.text),
        "label": judgement.verdict.label.english,
        "suggestion": judgement.verdict.suggestion.value,
        "model_version": judgement.model_version,
    }
    return ClassifyAnswer.of(judgement, caller.request_id, post.data_id)


@prompt.post("/classify/batch", openapi_extra=TIMEOUT_DESCRIBED)
async def classify_batch(batch: BatchRequest, request: Request) -> BatchAnswer:
    """Judge up to 256 posts; the results come in the order of the items, a bad one's error in its place."""
    service, caller = _service_of(request), Caller.of(request)
    moderator, request_id = service.live.moderator, caller.request_id
    items = [_parse_item(item, request_id) for item in batch.items]
    posts = [item for item in items if isinstance(item, ClassifyRequest)]
    judgements = iter(await service.judge(moderator, posts, caller))
    results: list[ClassifyAnswer | ItemError] = []
    for item in items:
        if isinstance(item, ItemError):
            results.append(item)
            continue
        judgement = next(judgements)
        if isinstance(judgement, EmptyTextError):
            results.append(ItemError(data_id=item.data_id, error=empty_text(judgement, request_id)))
        else:
            results.append(ClassifyAnswer.of(judgement, request_id, item.data_id))
    request.state.summary = {"items": len(items), "bad_items": len(items) - len(posts), "model_version": moderator.model_version}
    return BatchAnswer(results=results, model_version=moderator.model_version)


def _parse_item(item: object, request_id: str) -> ClassifyRequest | ItemError:
    try:
        return ClassifyRequest.model_validate(item)
    except ValidationError as error:
        data_id = item.get("data_id") if isinstance(item, dict) else None
        is_usable = isinstance(data_id, str) and data_id.isprintable()
        return ItemError(data_id=data_id if is_usable else None, error=describe(error.errors(), request_id))


@router.post("/feedback", responses=_FEEDBACK_ERRORS, dependencies=_MAY_REVIEW)
async def feedback(said: FeedbackRequest, service: Serving) -> FeedbackAnswer:
    """Keep a moderator's correction, or an author's appeal; once this is answered, it is on the disk."""
    if service.reviewing is None:
        raise StoreError("MODERATION_DATABASE_URL is empty")
    return await asyncio.to_thread(service.reviewing.take, said)


@router.get("/live")
async def live() -> Health:
    """Whether the process is up."""
    return Health(status="alive")


@router.get("/ready", responses={503: {"model": ErrorAnswer}})
async def ready(service: Serving) -> Health:
    """Whether the model answers its self-check."""
    await asyncio.to_thread(service.live.self_check)
    return Health(status="ready")


@router.get("/models/current", responses=_KEY_ERRORS, dependencies=_MAY_ADMINISTER)
async def current_model(service: Serving) -> ModelAnswer:
    """Describe the model and the policy in use."""
    return ModelAnswer.of(service.live)


@router.post("/models/reload", responses=_KEY_ERRORS, dependencies=_MAY_ADMINISTER)
async def reload_model(service: Serving) -> ModelAnswer:
    """Look for another champion now, and try a refused one again; `model_error` says why it can't be served."""
    await service.reload(again=True)
    return ModelAnswer.of(service.live)


@router.get("/metrics", response_class=Response, responses=_KEY_ERRORS, dependencies=_MAY_ADMINISTER)
async def metrics(service: Serving) -> Response:
    """Prometheus' text format."""
    return Response(service.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    """A small page to try a text."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _PAGE_POLICY})
