"""`pull`: fetch what annotators answered."""

import argparse
import sys
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare, opened

if TYPE_CHECKING:
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

_EPILOG = """example
  python -m annotation pull

Only what changed since the last pull is fetched; an answer that an annotator corrected replaces the earlier one. Posts that annotators
agree on become a new file in ANNOTATION_DATA; those they do not agree on are sent to an adjudicator by the next push."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    pull = declare(commands, "pull", "Fetch what annotators answered.", _EPILOG)
    pull.set_defaults(command=_pull)


def _pull(_: argparse.Namespace) -> int:
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

    settings = Settings.from_environment()
    with Studio.find(settings) as studio:
        print(fetch(studio, State(settings.state), settings) or "nothing new")
    return 0


def fetch(studio: "Studio", state: "State", settings: "Settings") -> str:
    """Bring the answers into the store, and what they settle into the folder of labels; says what was new, and names what can't be read."""
    from datetime import UTC, datetime

    from annotation.exchange import pull
    from annotation.labels import append
    from annotation.settle import settle

    with opened(settings) as store:
        fetched = pull(studio, state, store.save_answers)
        written = append(settings.data, settle(store.answers(), settings.overlap()).records, datetime.now(UTC))
    for problem in fetched.unreadable:
        print(f"left out: {problem}", file=sys.stderr)
    news = [f"{fetched.changed} answers new or changed"] if fetched.changed else []
    if written.file is not None:
        news.append(f"{written.added} labels added and {written.changed} corrected in {written.file}")
    return "; ".join(news)
