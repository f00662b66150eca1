"""Scores texts on the workers: each once, however many ask for it at a time, and not again while its score is remembered."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from semantic_service.contract.text import NormalisedText
from semantic_service.engine.classifier import Score
from semantic_service.engine.moderator import Moderator
from semantic_service.engine.workers import Done, Workers


class Lookup(StrEnum):
    """Where a text's score came from."""

    HIT = "hit"  # it was remembered
    JOINED = "joined"  # the same text was being scored already
    MISS = "miss"  # the model was run


class Observer(Protocol):
    """Is told what happens."""

    def looked_up(self, lookup: Lookup, texts: int) -> None:
        """Count where the scores of some texts, each different, come from."""

    def scored(self, done: Done[Score]) -> None:
        """Note a run of the model."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A score on its way, and how many wait for it."""

    score: asyncio.Future[Done[Score]]
    waiting: int = 0


class Scorer:
    """Belongs to one event loop, and so needs no lock."""

    def __init__(self, workers: Workers, remembered: int, observer: Observer) -> None:
        """Run the model on `workers`; remember that many scores, the least recently used one goes first."""
        self._workers = workers
        self._size = remembered
        self._observer = observer
        self._scores: OrderedDict[bytes, Score] = OrderedDict()
        self._flights: dict[tuple[bool, bytes], _Flight] = {}  # by whether it is a single post's, and by its text

    async def score(self, moderator: Moderator, texts: Sequence[NormalisedText], within_s: float) -> list[Score]:
        """Score texts, none of them empty, in order. If this is cancelled, what nobody else waits for does not run.

        Raises:
            QueueFullError: they do not fit into the queue, or would probably wait longer than `within_s`.

        """
        keys = [moderator.key(text) for text in texts]
        scores = {key: score for key in keys if (score := self._remembered(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in scores}
        self._observer.looked_up(Lookup.HIT, len(scores))
        if missing:
            flights = self._start(moderator, missing, within_s, is_single=len(texts) == 1)
            await _land(flights.values())
            scores |= {key: flight.score.result().answer for key, flight in flights.items()}
        return [scores[key] for key in keys]

    def _remembered(self, key: bytes) -> Score | None:
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def _start(
        self, moderator: Moderator, texts: Mapping[bytes, NormalisedText], within_s: float, *, is_single: bool
    ) -> dict[bytes, _Flight]:
        """Join what is on its way, submit the rest. A single post joins single posts only: a batch's text may have long to wait."""
        flights = {key: flight for key in texts if (flight := self._flights.get((is_single, key))) and not flight.score.cancelled()}
        new = [key for key in texts if key not in flights]
        futures = self._workers.submit([partial(moderator.score, texts[key]) for key in new], within_s)
        for key, future in zip(new, futures, strict=True):
            flights[key] = self._flights[is_single, key] = self._flight((is_single, key), future)
        self._observer.looked_up(Lookup.MISS, len(new))
        self._observer.looked_up(Lookup.JOINED, len(texts) - len(new))
        return flights

    def _flight(self, name: tuple[bool, bytes], future: Future[Done[Score]]) -> _Flight:
        flight = _Flight(asyncio.wrap_future(future))
        flight.score.add_done_callback(lambda _: self._landed(name, flight))
        return flight

    def _landed(self, name: tuple[bool, bytes], flight: _Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        if flight.score.cancelled() or flight.score.exception() is not None:
            return
        done = flight.score.result()
        self._observer.scored(done)
        self._scores[name[1]] = done.answer
        if len(self._scores) > self._size:
            self._scores.popitem(last=False)


async def _land(flights: Collection[_Flight]) -> None:
    for flight in flights:
        flight.waiting += 1
    try:
        await asyncio.wait([flight.score for flight in flights])
    finally:
        for flight in flights:
            flight.waiting -= 1
            if not flight.waiting:
                flight.score.cancel()  # does nothing to a score that is there
