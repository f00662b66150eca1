"""Scores texts on the workers: each once, however many ask for it at a time, and not again while its score is remembered."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
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
class _Waiter:
    """Waits until so many flights have landed."""

    left: int
    landed: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Flight:
    """A score on its way, and who waits for it."""

    job: Future[Done[Score]]
    waiters: set[_Waiter] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Asked:
    """The scores of some texts, by their keys, as far as they are there, and what is on its way."""

    keys: Sequence[bytes]
    scores: dict[bytes, Score]
    flights: Mapping[bytes, _Flight]

    async def wait(self) -> list[Score]:
        """Give the scores in order. If this is cancelled, what nobody else waits for does not run.

        Not by `asyncio.wait`: each turn of the loop between a score and its answer has to wait for the interpreter's lock.

        Raises:
            QueueFullError: so much more has come meanwhile that there is no time for one of the texts.

        """
        if not self.flights:
            return [self.scores[key] for key in self.keys]
        waiter = _Waiter(len(self.flights), asyncio.get_running_loop().create_future())
        for flight in self.flights.values():
            flight.waiters.add(waiter)
        try:
            await waiter.landed
        finally:
            for flight in self.flights.values():
                flight.waiters.remove(waiter)
                if not flight.waiters:
                    flight.job.cancel()  # does nothing to a score that is there, or being made
        scores = self.scores | {key: flight.job.result().answer for key, flight in self.flights.items()}
        return [scores[key] for key in self.keys]


class Scorer:
    """Belongs to one event loop, and so needs no lock."""

    def __init__(self, workers: Workers, remembered: int, observer: Observer) -> None:
        """Run the model on `workers`; remember that many scores, the least recently used one goes first."""
        self._workers = workers
        self._size = remembered
        self._observer = observer
        self._scores: OrderedDict[bytes, Score] = OrderedDict()
        self._flights: dict[tuple[bool, bytes], _Flight] = {}  # by whether it is a single post's, and by its text

    def ask(self, moderator: Moderator, texts: Sequence[NormalisedText], within_s: float) -> Asked:
        """Ask for texts' scores, none of the texts empty.

        Raises:
            QueueFullError: they do not fit into the queue, or would probably wait longer than `within_s`.

        """
        keys = [moderator.key(text) for text in texts]
        scores = {key: score for key in keys if (score := self._remembered(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in scores}
        self._observer.looked_up(Lookup.HIT, len(scores))
        return Asked(keys, scores, self._start(moderator, missing, within_s, is_single=len(texts) == 1) if missing else {})

    def _remembered(self, key: bytes) -> Score | None:
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def _start(
        self, moderator: Moderator, texts: Mapping[bytes, NormalisedText], within_s: float, *, is_single: bool
    ) -> dict[bytes, _Flight]:
        """Join what is on its way, submit the rest. A single post joins single posts only: a batch's text may have long to wait."""
        flights = {key: flight for key in texts if (flight := self._flights.get((is_single, key))) and not flight.job.cancelled()}
        new = [key for key in texts if key not in flights]
        jobs = self._workers.submit([partial(moderator.score, texts[key]) for key in new], within_s)
        for key, job in zip(new, jobs, strict=True):
            flights[key] = self._flights[is_single, key] = flight = _Flight(job)
            job.add_done_callback(self._told((is_single, key), flight))
        self._observer.looked_up(Lookup.MISS, len(new))
        self._observer.looked_up(Lookup.JOINED, len(texts) - len(new))
        return flights

    def _told(self, name: tuple[bool, bytes], flight: _Flight) -> Callable[[object], None]:
        """Make what a worker calls, on its own thread, when a flight has landed."""
        loop = asyncio.get_running_loop()

        def tell(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._landed, name, flight)

        return tell

    def _landed(self, name: tuple[bool, bytes], flight: _Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        for waiter in flight.waiters:
            waiter.left -= 1
            if not (waiter.left or waiter.landed.done()):
                waiter.landed.set_result(None)
        if flight.job.cancelled() or flight.job.exception() is not None:
            return
        done = flight.job.result()
        self._observer.scored(done)
        self._scores[name[1]] = done.answer
        if len(self._scores) > self._size:
            self._scores.popitem(last=False)
