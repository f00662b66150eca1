"""`push`: send the posts that people should label."""

import argparse
import sys
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio
    from annotation.tasks import Task
    from semantic_service.contract.answers import Purpose
    from semantic_service.contract.reviews import Review

_EPILOG = """examples
  python -m annotation push                                       up to 200 posts
  python -m annotation push --count 500

A post is sent once: what is on the board already is left out, also after a kill."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    push = declare(commands, "push", "Send the posts that people should label.", _EPILOG)
    push.add_argument("--count", type=int, default=200, metavar="N", help="at most so many (default: %(default)s)")
    push.set_defaults(command=_push)


def _push(options: argparse.Namespace) -> int:
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

    settings = Settings.from_environment()
    with Studio.find(settings) as studio:
        sent = send_chosen(studio, State(settings.state), settings, options.count)
        print(f"{sent} tasks sent: {studio.page}")
    return 0


def send_chosen(studio: "Studio", state: "State", settings: "Settings", count: int) -> int:
    """Choose posts that were not sent before, and send them; says how many."""
    from tqdm import tqdm

    from annotation.exchange import Sender

    with opened(settings) as store, state.sending(), tqdm(unit="task", disable=not sys.stderr.isatty()) as bar:
        return Sender(studio, state).send(lambda sent: _tasks(_chosen(store.reviews(), sent, count), settings), bar.update)


def _tasks(chosen: "Iterable[tuple[Review, Purpose]]", settings: "Settings") -> "Iterator[Task]":
    from annotation.errors import TaskError
    from annotation.settle import Overlap
    from annotation.tasks import to_task

    overlap = Overlap(share=settings.second_opinion_share)
    for review, purpose in chosen:
        try:
            yield to_task(review, purpose, overlap.needed(review.text_id))
        except TaskError as error:
            print(f"left out: {error}", file=sys.stderr)


def _chosen(reviews: "Iterable[Review]", sent: "frozenset[str]", count: int) -> "list[tuple[Review, Purpose]]":
    """Take the least sure of those that were not sent."""
    from annotation.tasks import external_id
    from semantic_service.contract.answers import Purpose

    unsent = {
        review.text_id: review for review in reviews if review.is_uncertain and external_id(review.text_id, Purpose.UNCERTAIN) not in sent
    }
    return [(review, Purpose.UNCERTAIN) for review in sorted(unsent.values(), key=lambda review: review.confidence)[:count]]
