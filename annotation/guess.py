"""What the running service thinks of texts, over HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from annotation.errors import ServiceError
from semantic_service.contract.labels import Label

MAX_ITEMS = 256  # of a batch, and
MAX_CHARS = 500_000  # since the service takes 4 MiB, and a character up to 4 bytes and its escape
_TIMEOUT_S = 60.0
_PROBE = "。"


@dataclass(frozen=True, slots=True)
class Guess:
    """A label with the model's confidence in it."""

    label: Label
    confidence: float
    model_version: str


class Guesser:
    """Asks `POST /classify/batch` of a service; `key` has the scope classify, where the service wants one."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {} if key is None else {"X-API-Key": key}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    def guess(self, texts: Sequence[str]) -> list[Guess | None]:
        """Judge texts, in order; None for one that can't be judged, such as an empty one.

        Raises:
            ServiceError: the service does not answer, or refuses to.

        """
        return [_guess(result) for some in _batches(texts) for result in self._ask(some)["results"]]

    def model_version(self) -> str:
        """Name the model that judges now.

        Raises:
            ServiceError: the service does not answer, or refuses to.

        """
        return str(self._ask([_PROBE])["model_version"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(self, texts: Sequence[str]) -> dict[str, Any]:
        try:
            response = self._http.post("/classify/batch", json={"items": [{"text": text} for text in texts]})
            response.raise_for_status()
            answer: dict[str, Any] = response.json()
        except httpx.HTTPStatusError as error:
            raise ServiceError(self._refused(error.response.status_code)) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ServiceError(
                f"the moderation service at {self._http.base_url} does not answer ({type(error).__name__}): start it with "
                "`python -m semantic_service`, or say where it is"
            ) from error
        return answer

    def _refused(self, status: int) -> str:
        if status in {401, 403}:
            return f"the moderation service at {self._http.base_url} refuses the key ({status}): give one with the scope classify"
        return f"the moderation service at {self._http.base_url} answers {status}: see its log"


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        if batch and (len(batch) == MAX_ITEMS or sum(map(len, batch)) + len(text) > MAX_CHARS):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _guess(result: dict[str, Any]) -> Guess | None:
    if "error" in result:
        return None
    return Guess(Label.parse(result["label"]), float(result["confidence"]), str(result["model_version"]))
