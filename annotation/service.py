"""Have the running service judge posts, over HTTP."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import httpx

from annotation.errors import ServiceError
from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.verdict import DEFAULT_SCENE, Decider, Hit, Suggestion

MAX_POSTS = 256  # of a request: the service's own bound
MAX_CHARS = 300_000  # of a request: 12 bytes each at the most, where the service takes 4 MiB
ATTEMPTS = 6
_FIRST_PAUSE_S = 1.0  # then twice as long each time
_TIMEOUT_S = 60.0
_PASSING = {429, 502, 503, 504}  # statuses that another attempt may not meet


@dataclass(frozen=True, slots=True)
class Post:
    """A text that has not been judged."""

    text: str
    scene: str = DEFAULT_SCENE
    data_id: str | None = None


class Service:
    """A moderation service at `url`; `key` has the scope classify, where the service asks for one."""

    def __init__(self, url: str, key: str | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        headers = {"Content-Type": "application/json"} | ({} if key is None else {"X-API-Key": key})
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        self._pause = pause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def judge(self, posts: Iterable[Post]) -> Iterator[Review | str]:
        """Judge posts, in order; of one that can't be judged, give the reason.

        Raises:
            ServiceError: the service refuses, or still does not answer after `ATTEMPTS`.

        """
        for batch in _batches(posts):
            results = self._ask(batch)["results"]
            yield from (_review(post, result) for post, result in zip(batch, results, strict=True))

    def _ask(self, posts: list[Post]) -> dict[str, Any]:
        items = [{"text": post.text, "scene": post.scene, "data_id": post.data_id} for post in posts]
        body = json.dumps({"items": items})  # ASCII: half of a surrogate pair has no UTF-8
        for attempt in range(ATTEMPTS):
            try:
                response = self._http.post("/classify/batch", content=body)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                failure, wanted_s = f"does not answer ({type(error).__name__}): start it with `python -m semantic_service`", 0.0
            else:
                if response.status_code not in _PASSING:
                    return self._answer(response)
                failure, wanted_s = f"answers {response.status_code}: it may be overloaded, so try later", _retry_after_s(response)
            if attempt < ATTEMPTS - 1:
                self._pause(max(wanted_s, _FIRST_PAUSE_S * 2**attempt))
        raise ServiceError(f"the service at {self._http.base_url} {failure}")

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code in {401, 403}:
            raise ServiceError(f"the service at {self._http.base_url} answers {response.status_code}: give a key with the scope classify")
        with suppress(ValueError):
            answer = response.json()
            if response.is_success and isinstance(answer, dict) and "results" in answer:
                return answer
        raise ServiceError(f"{self._http.base_url} answers {response.status_code}, and no verdicts: is it the moderation service?")


def _batches(posts: Iterable[Post]) -> Iterator[list[Post]]:
    batch: list[Post] = []
    chars = 0
    for post in posts:
        if batch and (len(batch) == MAX_POSTS or chars + len(post.text) > MAX_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(post)
        chars += len(post.text)
    if batch:
        yield batch


def _retry_after_s(response: httpx.Response) -> float:
    with suppress(ValueError):
        return float(response.headers.get("Retry-After", "0"))
    return 0.0


def _review(post: Post, result: Mapping[str, Any]) -> Review | str:
    if "error" in result:
        return f"the service can't judge it ({result['error']['code']})"
    first, second, third = (float(result["probabilities"][name]) for name in LABEL_NAMES)
    return Review(
        text=post.text,
        probabilities=(first, second, third),
        label=Label.parse(result["label"]),
        suggestion=Suggestion(result["suggestion"]),
        model_version=result["model_version"],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        is_uncertain=result["uncertain"],
        scene=result["scene"],
        decided_by=Decider(result["decided_by"]),
        hits=tuple(Hit(**hit) for hit in result["hits"]),
        request_id=result["request_id"],
        data_id=post.data_id,
    )
