"""Send each task once and fetch each answer, whatever was killed or away in between."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from annotation.errors import AnswerError, RefusedError
from annotation.state import State
from annotation.tasks import Placed, Task, to_answer, utc
from semantic_service.contract.answers import Answer

if TYPE_CHECKING:  # its SDK takes seconds to load
    from annotation.studio import Studio

CHUNK_TASKS = 50  # imported at once, by one transaction of Label Studio's
GRACE_S = 30.0  # how long Label Studio may go on with a request whose sender was killed
LOOK_AGAIN_S = 0.5
OVERLAP = timedelta(minutes=5)  # what was being written while the last pull looked
BATCH_ANSWERS = 500


@dataclass(frozen=True, slots=True)
class Sender:
    """Brings tasks to a board, each once. To be used within `state.sending()`.

    Label Studio has no ids of ours: an import that is repeated doubles its tasks. So what a request is about to bring is noted first, and
    if the answer never came (a kill, a timeout) the next sender waits until the tasks are there, or `GRACE_S` have passed, before it looks
    what is missing. Doubles that appear even so are removed.
    """

    board: "Studio"
    state: State

    def send(self, choose: Callable[[frozenset[str]], Iterable[Task]], progress: Callable[[int], object] = lambda _: None) -> int:
        """Bring the tasks that `choose` gives for the external ids that are there already, in order; says how many were new."""
        self._settle()
        there = list(self.board.tasks())
        self._tidy(there)
        sent = frozenset(task.ext_id for task in there)
        missing = list({task["data"]["ext_id"]: task for task in choose(sent) if task["data"]["ext_id"] not in sent}.values())
        for start in range(0, len(missing), CHUNK_TASKS):
            self._bring(missing[start : start + CHUNK_TASKS])
            progress(len(missing[start : start + CHUNK_TASKS]))
        if missing:
            self._tidy([*there, *self.board.tasks(after=max((task.id for task in there), default=0))])
            self.board.rank_by_score()
        return len(missing)

    def _bring(self, chunk: Sequence[Task]) -> None:
        self.state.note_under_way(self.board.project, (task["data"]["ext_id"] for task in chunk))
        try:
            self.board.add(chunk)
        except RefusedError:
            self.state.arrived()  # nothing will
            raise
        self.state.arrived()

    def _settle(self) -> None:
        """Wait for what an earlier request may still bring."""
        while (noted := self.state.under_way(self.board.project)) is not None:
            ext_ids, age_s = noted
            if not 0 <= age_s < GRACE_S or ext_ids <= {task.ext_id for task in self.board.tasks()}:
                self.state.arrived()
            else:
                time.sleep(LOOK_AGAIN_S)

    def _tidy(self, there: Iterable[Placed]) -> None:
        """Remove doubles, and open the tasks that want several annotators to them.

        Of tasks with one external id those stay that somebody worked on or, where nobody did, the oldest.
        """
        tasks: dict[str, list[Placed]] = {}
        for task in there:
            tasks.setdefault(task.ext_id, []).append(task)
        for doubles in tasks.values():
            kept, *others = sorted(doubles, key=lambda task: (task.annotations == 0, task.id))
            for task in others:
                if task.annotations == 0:
                    self.board.remove(task.id)
            if kept.overlap < kept.annotators:
                self.board.ask(kept.id, kept.annotators)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a pull brought: answers that are new or changed, and annotations that are none."""

    changed: int
    unreadable: tuple[str, ...]


def pull(board: "Studio", state: State, save: Callable[[Sequence[Answer]], int]) -> Fetched:
    """Fetch the answers that have come since the last pull. `save` is given each at least once, and says how many are new or changed.

    Cancelled annotations and drafts are no answers.
    """
    pulled = state.pulled(board.project)
    since = None if pulled is None else utc(datetime.fromisoformat(pulled.until) - OVERLAP)
    newest = "" if pulled is None else pulled.until
    names = board.annotators()
    changed, unreadable = 0, list[str]()
    waiting: list[Answer] = []
    for task in board.answered(since):
        newest = max(newest, utc(task["updated_at"]))
        for found in _answers(task, names):
            if isinstance(found, Answer):
                waiting.append(found)
            else:
                unreadable.append(str(found))
        if len(waiting) >= BATCH_ANSWERS:
            changed += save(waiting)
            waiting = []
    changed += save(waiting)
    if newest:
        state.note_pulled(board.project, newest)
    return Fetched(changed, tuple(unreadable))


def _answers(task: Mapping[str, Any], names: Mapping[int, str]) -> Iterator[Answer | AnswerError]:
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        user = annotation.get("completed_by")
        try:
            yield to_answer(task, annotation, names.get(user, f"user {user}"))
        except AnswerError as error:
            yield error
