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

Only what changed since the last pull is fetched; an answer that an annotator corrected replaces the earlier one."""


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
        print(f"{fetch(studio, State(settings.state), settings)} answers new or changed")
    return 0


def fetch(studio: "Studio", state: "State", settings: "Settings") -> int:
    """Bring the answers into the store; says how many are new or changed, and names what can't be read."""
    from annotation.exchange import pull

    with opened(settings) as store:
        fetched = pull(studio, state, store.save_answers)
    for problem in fetched.unreadable:
        print(f"left out: {problem}", file=sys.stderr)
    return fetched.changed
