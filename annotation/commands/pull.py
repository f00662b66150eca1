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
        changed = fetch(studio, State(settings.state), settings)
    print(f"{changed} answers new or changed")
    print(write_labels(settings) or "no label is new")
    return 0


def fetch(studio: "Studio", state: "State", settings: "Settings") -> int:
    """Bring the answers into the store; says how many are new or changed, and names what can't be read."""
    from annotation.exchange import pull

    with opened(settings) as store:
        fetched = pull(studio, state, store.save_answers)
    for problem in fetched.unreadable:
        print(f"left out: {problem}", file=sys.stderr)
    return fetched.changed


def write_labels(settings: "Settings") -> str | None:
    """Write what the answers settle to a new file in the folder of labels; says what was new, None: nothing."""
    from datetime import UTC, datetime

    from annotation.labels import append
    from annotation.settle import settle

    with opened(settings) as store:
        records = settle(store.answers(), settings.overlap()).records
    written = append(settings.data, records, datetime.now(UTC))
    return None if written.file is None else f"{written.added} labels added and {written.changed} corrected: {written.file}"
