"""Label Studio's ML backend protocol (https://labelstud.io/guide/ml_create): live guesses, and "Start training"."""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel

from annotation.errors import InterfaceError, RetrainingError, ServiceError
from annotation.labels import count_labels
from annotation.retrain import Retrainer
from annotation.service import Post, Service
from annotation.tasks import INDEPENDENT
from semantic_service.contract.labels import Label, UnknownLabelError
from semantic_service.contract.reviews import Review

_START = "START_TRAINING"

log = logging.getLogger("annotation.backend")


class PredictRequest(BaseModel):
    """Tasks to guess the labels of, and the project's labelling interface."""

    tasks: list[dict[str, Any]]
    label_config: str


class Event(BaseModel):
    """What happened in Label Studio; only the button's event is of interest."""

    action: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a labelling interface takes our labels: the control, its object, the task's key with the text, and the labels' names there."""

    control: str
    shown: str
    key: str
    names: Mapping[Label, str]

    def result(self, guess: Review) -> dict[str, Any]:
        """Say a guess as Label Studio does."""
        choice = {"from_name": self.control, "to_name": self.shown, "type": "choices", "value": {"choices": [self.names[guess.label]]}}
        return {"result": [choice], "score": round(guess.confidence, 6), "model_version": guess.model_version}


_STATUS = {ServiceError: 503, InterfaceError: 422, RetrainingError: 500}


@lru_cache(maxsize=8)
def find_target(label_config: str) -> Target:
    """Find the choices that name all three labels, by any name that we know, whatever the control is called.

    Raises:
        InterfaceError: there are none, or the interface can't be read.

    """
    try:
        interface = fromstring(label_config)
    except (ParseError, DefusedXmlException) as error:
        raise InterfaceError(f"the labelling interface can't be read ({type(error).__name__})") from error
    keys = {tag.get("name"): tag.get("value", "").removeprefix("$") for tag in interface.iter()}
    for control in interface.iter("Choices"):
        names, shown = _names(control), control.get("toName", "")
        if len(names) == len(Label):
            return Target(control.get("name", ""), shown, keys.get(shown, ""), names)
    raise InterfaceError(
        f"the labelling interface has no Choices with {', '.join(label.english for label in Label)}: see `annotation init`"
    )


def _names(control: Element) -> dict[Label, str]:
    """Find our labels among the choices; Label Studio stores a choice's alias, if it has one, else its value."""
    names = {}
    for choice in control.iter("Choice"):
        stored = str(choice.get("alias", choice.get("value", "")))
        try:
            names[Label.parse(stored)] = stored
        except UnknownLabelError:
            continue  # can't tell, for one
    return names


def create_app(service: Service, password: str | None = None, train: Callable[[], bool] | None = None) -> FastAPI:
    """Make the backend; `password` is that of Label Studio's basic authentication, `train` starts a run unless one is under way."""
    app = FastAPI(title="moderation as an ML backend", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service, app.state.password, app.state.train = service, password, train
    app.include_router(_open)
    app.include_router(_guarded)
    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, _say(status))
    return app


def _check(request: Request, credentials: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]) -> None:
    password = request.app.state.password
    given = "" if credentials is None else credentials.password
    if password is not None and not secrets.compare_digest(given.encode(), password.encode()):
        raise HTTPException(401, "give the backend's password in Label Studio: Settings, Model, basic authentication; any user name")


_open = APIRouter()
_guarded = APIRouter(dependencies=[Depends(_check)])


@_open.get("/health")
def health() -> dict[str, str]:
    """Say that the process is up; Label Studio asks again and again and waits 1 s, so the service is not asked."""
    return {"status": "UP", "model_class": "moderation"}


@_guarded.post("/setup")
def setup(request: Request) -> dict[str, str]:
    """Name the model."""
    return {"model_version": request.app.state.service.model_version()}


@_guarded.get("/versions")
def versions(request: Request) -> dict[str, list[str]]:
    """Name the models that there are: the one that serves."""
    return {"versions": [request.app.state.service.model_version()]}


@_guarded.post("/predict")
def predict(asked: PredictRequest, request: Request) -> dict[str, list[Any]]:
    """Guess, in the terms of the project's labelling interface."""
    return {"results": predictions(request.app.state.service, asked.tasks, find_target(asked.label_config))}


@_guarded.post("/webhook")
def webhook(event: Event, request: Request) -> dict[str, str]:
    """Start a training, if the button was pressed."""
    if event.action != _START:
        return {"status": "ignored"}
    train = request.app.state.train
    if train is None:
        raise HTTPException(409, "training is off: start `python -m annotation backend` with --train CONFIG")
    return {"status": "started" if train() else "a training is under way already"}


def predictions(service: Service, tasks: Sequence[Mapping[str, Any]], target: Target) -> list[Any]:
    """Guess each task's label; a task whose purpose forbids a guess, or without a text that can be judged, gets an empty list: none.

    Raises:
        ServiceError: the service does not answer, or refuses to.

    """
    texts = [_text(task.get("data"), target.key) for task in tasks]
    judged = service.judge([Post(text) for text in texts if text is not None])
    guesses = [None if text is None else next(judged) for text in texts]
    return [target.result(guess) if isinstance(guess, Review) else [] for guess in guesses]


def _text(data: Any, key: str) -> str | None:
    """Find the text: our tasks have it as `text`, and what is shown as HTML."""
    if not isinstance(data, dict) or data.get("purpose") in INDEPENDENT:
        return None
    text = data.get("text", data.get(key))
    return text if isinstance(text, str) else None


def _say(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def handle(_: Request, error: Exception) -> JSONResponse:
        log.error("%s", error)
        return JSONResponse({"detail": str(error)}, status)

    return handle


def trainer(retrainer: Retrainer, labels: Path) -> Callable[[], bool]:
    """Make what the button does."""
    return lambda: retrainer.start("started from Label Studio", count_labels(labels))
