"""`push`: send the posts that people should label."""

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annotation.select import Chosen
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio
    from annotation.tasks import Task
    from semantic_service.contract.reviews import Review

STORE = "store"
_EPILOG = """examples
  python -m annotation push                                       the posts of the review store that teach the model most
  python -m annotation push --from scored.tsv --count 500         of a dump that `python -m semantic_service.batch` scored
  python -m annotation push --from posts.txt                      of posts that the running service judges first

A post is sent once, also after a kill. `python -m annotation select` shows what would be chosen."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many posts to send, and where to choose them from."""

    count: int
    source: str = STORE
    text_column: str = "text"


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    push = declare(commands, "push", "Send the posts that people should label.", _EPILOG)
    push.add_argument("--from", dest="source", default=STORE, metavar="store|FILE", help="where the posts are (default: %(default)s)")
    push.add_argument("--count", type=int, default=200, metavar="N", help="at most so many (default: %(default)s)")
    push.add_argument("--text-column", default="text", metavar="C", help="of a file (default: %(default)s)")
    push.set_defaults(command=_push)


def _push(options: argparse.Namespace) -> int:
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

    settings = Settings.from_environment()
    wanted = Wanted(options.count, options.source, options.text_column)
    with Studio.find(settings) as studio:
        sent = send_chosen(studio, State(settings.state), settings, wanted)
        print(f"{sent} tasks sent: {studio.page}")
    return 0


def send_chosen(studio: "Studio", state: "State", settings: "Settings", wanted: Wanted) -> int:
    """Choose posts that were not sent before, and send them; says how many."""
    from tqdm import tqdm

    from annotation.exchange import Sender

    with state.sending(), tqdm(desc="sending", unit="task", disable=not sys.stderr.isatty()) as bar:
        return Sender(studio, state).send(lambda sent: _tasks(_chosen(settings, wanted, sent), settings), bar.update)


def _chosen(settings: "Settings", wanted: Wanted, sent: "frozenset[str]") -> "list[Chosen]":
    """Choose from all that was judged; texts that were sent, or answered on another board, are known."""
    from annotation.select import Options, select
    from annotation.tasks import asked

    with opened(settings) as store:
        answered = {answer.text_id for answer in store.answers()}
    return select(_reviews(settings, wanted), Options(wanted.count, known=answered | {asked(ext_id)[0] for ext_id in sent}))


def _reviews(settings: "Settings", wanted: Wanted) -> "list[Review]":
    from annotation.pool import Skipped, read
    from annotation.service import Service

    source = settings.database_url if wanted.source == STORE else wanted.source
    key = None if settings.service_key is None else settings.service_key.get_secret_value()
    reviews = []
    with Service(settings.service_url, key) as service:
        for found in read(source, wanted.text_column, service):
            if isinstance(found, Skipped):
                print(f"left out: {found.place}: {found.reason}", file=sys.stderr)
            else:
                reviews.append(found)
    return reviews


def _tasks(chosen: "Iterable[Chosen]", settings: "Settings") -> "Iterator[Task]":
    from annotation.errors import TaskError
    from annotation.settle import Overlap
    from annotation.tasks import to_task

    overlap = Overlap(share=settings.second_opinion_share)
    for post in chosen:
        try:
            yield to_task(post.review, post.purpose, overlap.needed(post.review.text_id))
        except TaskError as error:
            print(f"left out: {error}", file=sys.stderr)
