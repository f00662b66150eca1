"""What annotators get next: what selection chooses, disputed posts, suspected label errors, and posts whose label is known."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotation.errors import TaskError
from annotation.follow_up import FollowUp, Plan, follow_up
from annotation.labels import read_folder, read_records
from annotation.select import Options, select
from annotation.service import Post, Service
from annotation.settings import Settings
from annotation.tasks import Task, asked, to_task
from semantic_service.contract.answers import Purpose
from semantic_service.contract.records import Record
from semantic_service.contract.reviews import Review
from semantic_service.contract.text import text_id
from semantic_service.store.store import Store


@dataclass(frozen=True, slots=True)
class Agenda:
    """Makes tasks of judged posts, of answers in the store, and of the files that the settings name."""

    settings: Settings
    store: Store

    def tasks(self, reviews: Sequence[Review], sent: Iterable[str], count: int) -> Iterator[Task | TaskError]:
        """Make tasks of `count` of the reviews and of what goes with them; `sent` are the external ids of what annotators have.

        Raises:
            LabelsError: a file of labels can't be read.
            ServiceError: the service, which has to judge what goes with them, does not answer.

        """
        before, answers = {asked(ext_id) for ext_id in sent}, self.store.answers()
        known = {text for text, _ in before}.union(answer.text_id for answer in answers)  # the latter on another board, it may be
        known.update(record.id for record in read_folder(self.settings.data))
        chosen = select(reviews, Options(count, known=known))
        plan = Plan(len(chosen), before, self.settings.overlap(), self.settings.gold_share)
        gold, suspects = _records(self.settings.gold), _records(self.settings.suspects)
        yield from (self._task(post.review, post.purpose) for post in chosen)
        yield from self._followed_up(follow_up(answers, gold, suspects, plan))

    def _followed_up(self, items: list[FollowUp]) -> Iterator[Task | TaskError]:
        """Have the service say what it thinks first, since a task shows it."""
        if not items:
            return
        with Service(self.settings.service_url, self.settings.key()) as service:
            for item, review in zip(items, service.judge([Post(item.text) for item in items]), strict=True):
                if isinstance(review, Review):
                    yield self._task(review, item.purpose)
                else:
                    yield TaskError(f"the post {text_id(item.text)}, for {item.purpose}: {review}")

    def _task(self, review: Review, purpose: Purpose) -> Task | TaskError:
        is_for_one = purpose in {Purpose.ADJUDICATION, Purpose.GOLD}
        try:
            return to_task(review, purpose, 1 if is_for_one else self.settings.overlap().needed(review.text_id))
        except TaskError as error:
            return error


def _records(path: Path | None) -> Iterator[Record]:
    return iter(()) if path is None else read_records(path)
