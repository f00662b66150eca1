"""`push`: send the posts that people should label."""

import argparse
import sys
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare, opened, read_reviews

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from annotation.errors import TaskError
    from annotation.settings import Settings
    from annotation.studio import Studio
    from annotation.tasks import Task
    from semantic_service.contract.reviews import Review

_EPILOG = """examples
  python -m annotation push                                       up to 200 posts
  python -m annotation push --count 500
  python -m annotation push --from scored.tsv --text-column content      out of what semantic_service.batch wrote

A post is sent once: what is on the board already is left out, also after a kill."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    push = declare(commands, "push", "Send the posts that people should label.", _EPILOG)
    push.add_argument("--count", type=int, default=200, metavar="N", help="at most so many (default: %(default)s)")
    push.add_argument("--from", dest="source", metavar="SOURCE", help="a .tsv, .jsonl or .txt file (default: the review store)")
    push.add_argument("--text-column", default="text", metavar="C", help="of a file (default: %(default)s)")
    push.set_defaults(command=_push)


def _push(options: argparse.Namespace) -> int:
    from annotation.settings import Settings
    from annotation.studio import Studio

    settings = Settings.from_environment()
    reviews = read_reviews(options.source, options.text_column, settings)
    with Studio.find(settings) as studio:
        sent = send_chosen(studio, settings, options.count, reviews)
        print(f"{sent} tasks sent: {studio.page}")
    return 0


def send_chosen(studio: "Studio", settings: "Settings", count: int, reviews: "Sequence[Review]") -> int:
    """Choose posts that were not sent before, and send them and what goes with them; says how many."""
    from tqdm import tqdm

    from annotation.agenda import Agenda
    from annotation.exchange import Sender
    from annotation.state import State

    state = State(settings.state)
    with opened(settings) as store, state.sending(), tqdm(unit="task", disable=not sys.stderr.isatty()) as bar:
        agenda = Agenda(settings, store)
        return Sender(studio, state).send(lambda sent: _usable(agenda.tasks(reviews, sent, count)), bar.update)


def _usable(tasks: "Iterable[Task | TaskError]") -> "Iterator[Task]":
    from annotation.errors import TaskError

    for task in tasks:
        if isinstance(task, TaskError):
            print(f"left out: {task}", file=sys.stderr)
        else:
            yield task
