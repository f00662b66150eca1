"""The store while its database is there, the spill file while it is away."""

import logging
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_service.contract.reviews import Feedback, Review
from semantic_service.store.errors import StoreError
from semantic_service.store.spill import Spill

if TYPE_CHECKING:
    from semantic_service.store.store import Store

RETRY_S = 5.0  # between attempts to reach a database that is away

log = logging.getLogger(__name__)


class Result(StrEnum):
    """What became of a review or a feedback."""

    STORED = "stored"
    KNOWN = "known"  # the store has had this text under this model
    SPILLED = "spilled"  # the database is away: it waits in the spill file
    REPLAYED = "replayed"  # it had been spilled, and is stored now
    DROPPED = "dropped"  # too many were waiting
    FAILED = "failed"  # neither database nor spill file could take it


class Keeper:
    """Keeps what it is given, wherever that can be done. Safe to call from many threads."""

    def __init__(self, url: str, spill_file: Path, count: Callable[[Result, int], None]) -> None:
        """Keep in the database at `url`, in `spill_file` until `reach` has found it; what became of how many goes to `count`."""
        self.spill = Spill(spill_file)
        self._url = url
        self.count = count
        self._store: Store | None = None
        self._next_try = 0.0  # time.monotonic()
        self._said: set[str] = set()  # failures that were logged, until the database is back

    def reach(self) -> None:
        """Open the database if it is away and it is time to try again, and move in what was spilled."""
        if time.monotonic() < self._next_try:
            return
        from semantic_service.store.store import Store  # noqa: PLC0415 - imports SQLAlchemy: the first verdict need not wait for it

        try:
            store = self._store = self._store or Store.open(self._url)
            replayed = self.spill.replay(store)
        except StoreError as error:
            self._give_up(error)
        except OSError as error:
            self._say(f"what was spilled stays where it is: {self.spill.path}: {error.strerror}")
        else:
            self._done(Result.REPLAYED, replayed)

    def keep(self, entries: Sequence[Review | Feedback]) -> Result:
        """Keep entries; on return they are in the database, or on the disk.

        Raises:
            StoreError: neither the database nor the spill file can take them.

        """
        if (store := self._store) is not None:
            try:
                new = store.keep(entries)
            except StoreError as error:
                self._give_up(error)
            else:
                self.count(Result.KNOWN, len(entries) - new)
                return self._done(Result.STORED, new)
        return self._spill(entries)

    def find(self, request_id: str) -> Review | None:
        """Give what the store has of a request.

        Raises:
            StoreError: the database is away.

        """
        if (store := self._store) is None:
            raise StoreError("the database is away")
        return store.review(request_id)

    def close(self) -> None:
        """Let go of the database."""
        if self._store is not None:
            self._store.close()

    def _done(self, result: Result, entries: int) -> Result:
        self.count(result, entries)
        if entries and self._said:
            log.info("the review store is in use again")
            self._said.clear()
        return result

    def _give_up(self, error: StoreError) -> None:
        """Leave the database alone for a while."""
        store, self._store = self._store, None
        self._next_try = time.monotonic() + RETRY_S
        if store is not None:
            store.close()
        self._say(f"the review store can't be used, what is to be kept waits in {self.spill.path}: {error}")

    def _spill(self, entries: Sequence[Review | Feedback]) -> Result:
        try:
            self.spill.keep(entries)
        except OSError as error:
            self.count(Result.FAILED, len(entries))
            failure = f"reviews are lost, nor can the spill file be written: {self.spill.path}: {error.strerror}"
            self._say(failure)
            raise StoreError(failure) from error
        self.count(Result.SPILLED, len(entries))
        return Result.SPILLED

    def _say(self, failure: str) -> None:
        if failure not in self._said:
            log.error("answers are not affected, but %s", failure)
        self._said.add(failure)
