"""Scores texts on the workers: each once, however many ask for it at a time, and not again while its score is remembered."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Protocol, Self

from semantic_service.contract.text import NormalisedText
from semantic_service.engine.classifier import Score
from semantic_service.engine.lanes import Done, Job
from semantic_service.engine.moderator import Moderator
from semantic_service.engine.workers import Workers, call_on

SHORT_CHARS = 500  # take about four windows of 128 tokens


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
    """A score on its way, and who waits for it."""

    job: Job[Score]
    waiters: "set[Asked]" = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Asked:
    """The scores of some texts, by their keys: those that are there, and those on their way, until the block is left."""

    keys: Sequence[bytes]
    scores: dict[bytes, Score]
    flights: Mapping[bytes, _Flight]
    cancel: Callable[[Job[Score]], None]
    landed: asyncio.Future[None]
    on_the_way: int = 0

    def __post_init__(self) -> None:
        self.on_the_way = len(self.flights)
        for flight in self.flights.values():
            flight.waiters.add(self)
        if not self.on_the_way:
            self.landed.set_result(None)

    def __enter__(self) -> Self:
        """Wait for `landed`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait no more; what nobody else waits for does not run."""
        for flight in self.flights.values():
            flight.waiters.remove(self)
            if not flight.waiters:
                self.cancel(flight.job)  # does nothing to a score that is there, or being made

    def result(self) -> list[Score]:
        """Give the scores, in the texts' order, once they have landed.

        Raises:
            QueueFullError: so much more has come meanwhile that there is no time for one of the texts.

        """
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
        self._count(Lookup.HIT, len(scores))
        flights = self._start(moderator, missing, within_s, is_single=len(texts) == 1) if missing else {}
        return Asked(keys, scores, flights, self._workers.cancel, asyncio.get_running_loop().create_future())

    def _count(self, lookup: Lookup, texts: int) -> None:
        if texts:
            self._observer.looked_up(lookup, texts)

    def _remembered(self, key: bytes) -> Score | None:
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def _start(
        self, moderator: Moderator, texts: Mapping[bytes, NormalisedText], within_s: float, *, is_single: bool
    ) -> dict[bytes, _Flight]:
        """Join what is on its way, submit the rest. A single post joins single posts only: a batch's text may have long to wait."""
        flights = {key: flight for key in texts if (flight := self._flights.get((is_single, key))) and not flight.job.is_cancelled}
        new = {key: self._flight(moderator, (is_single, key), text) for key, text in texts.items() if key not in flights}
        self._workers.submit([flight.job for flight in new.values()], within_s)
        for key, flight in new.items():
            self._flights[is_single, key] = flight
        self._count(Lookup.MISS, len(new))
        self._count(Lookup.JOINED, len(flights))
        return flights | new

    def _flight(self, moderator: Moderator, name: tuple[bool, bytes], text: NormalisedText) -> _Flight:
        told = partial(call_on, asyncio.get_running_loop(), self._landed, name)
        return _Flight(Job(moderator.prepare, text, told, is_short=len(text.text) <= SHORT_CHARS))

    def _landed(self, name: tuple[bool, bytes], job: Job[Score]) -> None:
        flight = self._flights.get(name)
        if flight is None or flight.job is not job:  # nobody waits for it: it was cancelled, and another has begun
            return
        del self._flights[name]
        for asked in flight.waiters:
            asked.on_the_way -= 1
            if not (asked.on_the_way or asked.landed.done()):
                asked.landed.set_result(None)
        done = job.outcome
        if not isinstance(done, Done):
            return
        self._observer.scored(done)
        self._scores[name[1]] = done.answer
        if len(self._scores) > self._size:
            self._scores.popitem(last=False)
