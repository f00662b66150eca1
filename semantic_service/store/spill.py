"""Where reviews and feedback wait while the database is away."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_service.contract.json_lines import JsonLines
from semantic_service.contract.reviews import Feedback, Review
from semantic_service.store.rows import Row, feedback_of_row, review_of_row, row_of_feedback, row_of_review

if TYPE_CHECKING:  # it imports SQLAlchemy
    from semantic_service.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spill:
    """A file of rows that several processes share; a row that is there twice, or comes back twice, is kept once."""

    path: Path

    @property
    def size_bytes(self) -> int:
        """How much waits; 0: nothing."""
        return JsonLines(self.path).size_bytes

    def keep(self, entries: Sequence[Review | Feedback]) -> None:
        """Write entries down. On return they are on the disk.

        Raises:
            OSError: the file can't be written, or the disk is full.

        """
        JsonLines(self.path).append([_line(entry) for entry in entries])

    def replay(self, store: "Store") -> int:
        """Move what waits into the store; give how much that was. A kill loses and doubles nothing: until all is there, all stays here.

        Raises:
            StoreError: the store is away again.
            OSError: the file can't be read or emptied.

        """
        replayed = 0

        def take(lines: list[bytes]) -> None:
            nonlocal replayed
            entries = [entry for line in lines if (entry := self._read(line))]
            store.keep(entries)
            replayed += len(entries)

        JsonLines(self.path).drain(take)
        return replayed

    def _read(self, line: bytes) -> Review | Feedback | None:
        """Read a line; one that this version can't read is put aside, so that the others get on."""
        try:
            [(kind, row)] = json.loads(line).items()
            return _READERS[kind](row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            aside = JsonLines(self.path.with_name(self.path.name + ".unreadable"))
            log.error("a spilled row can't be read (%s), it is kept in %s", type(error).__name__, aside.path)  # noqa: TRY400 - it may quote
            aside.append([{"line": line.decode(errors="replace")}])
            return None


_READERS: dict[str, Callable[[Row], Review | Feedback]] = {"review": review_of_row, "feedback": feedback_of_row}


def _line(entry: Review | Feedback) -> dict[str, object]:
    return {"review": row_of_review(entry)} if isinstance(entry, Review) else {"feedback": row_of_feedback(entry)}
