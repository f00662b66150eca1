"""Send each task once and fetch each answer, whatever was killed or away in between."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Protocol

from annotation.errors import AnswerError
from annotation.state import State
from annotation.tasks import Task, to_answer, utc
from semantic_service.contract.answers import Answer

CHUNK_TASKS = 50  # imported at once, by one transaction of Label Studio's
GRACE_S = 30.0  # how long Label Studio may go on with a request whose sender was killed
LOOK_AGAIN_S = 0.5
OVERLAP = timedelta(minutes=5)  # what was being written while the last pull looked
BATCH_ANSWERS = 500


class Board(Protocol):
    """What is needed of a Label Studio project."""

    project: int

    def tasks(self, after: int = 0) -> Iterator[tuple[int, str | None, int]]: ...  # noqa: D102 - see annotation.studio.Studio
    def answered(self, since: str | None = None) -> Iterator[Mapping[str, Any]]: ...  # noqa: D102
    def annotators(self) -> Mapping[int, str]: ...  # noqa: D102
    def add(self, tasks: Sequence[Task]) -> None: ...  # noqa: D102
    def remove(self, task: int) -> None: ...  # noqa: D102
    def rank_by_score(self) -> None: ...  # noqa: D102


@dataclass(slots=True)
class Sender:
    """Brings tasks to a board, each once. To be used within `state.sending()`.

    Label Studio has no ids of ours: an import that is repeated doubles its tasks. So what a request is about to bring is noted first, and
    if the answer never came (a kill, a timeout) the next sender waits until the tasks are there, or `GRACE_S` have passed, before it looks
    what is missing. Doubles that appear even so are removed.
    """

    board: Board
    state: State
    _there: dict[str, list[int]] = field(default_factory=dict)  # tasks by external id
    _newest: int = 0

    def sent(self) -> frozenset[str]:
        """Give the external ids of all tasks on the board."""
        self._settle()
        self._look()
        return frozenset(self._there)

    def send(self, tasks: Iterable[Task], progress: Callable[[int], object] = lambda _: None) -> int:
        """Bring those tasks that are not there, in order; says how many."""
        sent = self.sent()
        missing = list({task["data"]["ext_id"]: task for task in tasks if task["data"]["ext_id"] not in sent}.values())
        remaining = iter(missing)
        while chunk := list(islice(remaining, CHUNK_TASKS)):
            self.state.note_under_way(self.board.project, (task["data"]["ext_id"] for task in chunk))
            self.board.add(chunk)
            self.state.arrived()
            progress(len(chunk))
        self._look()
        self._remove_doubles()
        if missing:
            self.board.rank_by_score()
        return len(missing)

    def _settle(self) -> None:
        """Wait for what an earlier request may still bring."""
        while (noted := self.state.under_way(self.board.project)) is not None:
            ext_ids, age_s = noted
            self._forget()
            self._look()
            if ext_ids <= self._there.keys() or not 0 <= age_s < GRACE_S:
                self.state.arrived()
            else:
                time.sleep(LOOK_AGAIN_S)

    def _look(self) -> None:
        """Take in the tasks that have come since the last look."""
        for task, ext_id, _ in self.board.tasks(after=self._newest):
            self._newest = task
            if ext_id is not None:
                self._there.setdefault(ext_id, []).append(task)

    def _forget(self) -> None:
        self._there, self._newest = {}, 0

    def _remove_doubles(self) -> None:
        """Of tasks with one external id keep those that somebody worked on or, where nobody did, the oldest."""
        doubled = {ext_id for ext_id, tasks in self._there.items() if len(tasks) > 1}
        if not doubled:
            return
        tasks: dict[str, list[tuple[bool, int]]] = {}
        for task, ext_id, annotations in self.board.tasks():
            if ext_id in doubled:
                tasks.setdefault(ext_id, []).append((annotations == 0, task))
        for ranked in map(sorted, tasks.values()):
            for is_untouched, task in ranked[1:]:
                if is_untouched:
                    self.board.remove(task)
        self._forget()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a pull brought: answers that are new or changed, and annotations that are none."""

    changed: int
    unreadable: tuple[str, ...]


def pull(board: Board, state: State, save: Callable[[Sequence[Answer]], int]) -> Fetched:
    """Fetch the answers that have come since the last pull. `save` is given each at least once, and says how many are new or changed.

    Cancelled annotations and drafts are no answers.
    """
    pulled = state.pulled(board.project)
    since = None if pulled is None else utc(datetime.fromisoformat(pulled.until) - OVERLAP)
    newest = "" if pulled is None else pulled.until
    names = board.annotators()
    changed, unreadable, waiting = 0, [], []
    for task in board.answered(since):
        newest = max(newest, utc(task["updated_at"]))
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                continue
            try:
                waiting.append(to_answer(task, annotation, _annotator(annotation, names)))
            except AnswerError as error:
                unreadable.append(str(error))
        if len(waiting) >= BATCH_ANSWERS:
            changed += save(waiting)
            waiting = []
    changed += save(waiting) if waiting else 0
    if newest:
        state.note_pulled(board.project, newest)
    return Fetched(changed, tuple(unreadable))


def _annotator(annotation: Mapping[str, Any], names: Mapping[int, str]) -> str:
    user = annotation.get("completed_by")
    return names.get(user, f"user {user}") if isinstance(user, int) else "unknown"
