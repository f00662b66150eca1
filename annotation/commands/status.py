"""`status`: say how far labelling is."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from semantic_service.contract.answers import Answer

_EPILOG = """example
  python -m annotation status"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    status = declare(commands, "status", "Show what waits, what was answered by whom, and when answers were last fetched.", _EPILOG)
    status.set_defaults(command=_status)


def _status(_: argparse.Namespace) -> int:
    from annotation.agreement import measure
    from annotation.settings import Settings
    from annotation.settle import settle
    from annotation.state import State
    from annotation.studio import Studio

    settings = Settings.from_environment()
    with opened(settings) as store:
        answers = store.answers()
    with Studio.find(settings) as studio:
        page, counts, pulled = studio.page, studio.counts(), State(settings.state).pulled(studio.project)
    rows = [
        ("project", page),
        ("tasks", f"{counts.tasks}"),
        ("waiting for answers", f"{counts.tasks - counts.finished}"),
        ("answered in full", f"{counts.finished}"),
        *_by_annotator(answers),
        *((f"posts {state}", f"{count}") for state, count in Counter(settle(answers, settings.overlap()).states.values()).items()),
        ("agreement, Fleiss' kappa", str(measure(answers, {}).overall or "not known: nobody has answered the same post as another")),
        ("last pull", "never" if pulled is None else pulled.at),
    ]
    for name, value in rows:
        print(f"{name:32} {value}")
    return 0


def _by_annotator(answers: "Iterable[Answer]") -> "Iterator[tuple[str, str]]":
    given, undecided = Counter[str](), Counter[str]()
    for answer in answers:
        given[answer.annotator] += 1
        undecided[answer.annotator] += answer.label is None
    for name, count in given.most_common():
        yield f"answers by {name}", f"{count}" + (f" ({undecided[name]} can't tell)" if undecided[name] else "")
