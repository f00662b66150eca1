"""`sync`: push and pull for ever."""

import argparse
import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare
from annotation.commands.pull import fetch
from annotation.commands.push import Wanted, send_chosen

if TYPE_CHECKING:
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

LEAST_ROOM = 0.2  # of the queue: choosing reads the whole store, which is not worth it for a few
_EPILOG = """examples
  python -m annotation sync                                       both every minute
  ANNOTATION_WEBHOOK_SECRET=... python -m annotation sync         and answers are fetched as soon as they are given (see `init`)

Keeps ANNOTATION_QUEUE tasks waiting for annotators. While Label Studio or the database is away it waits, and says so once. Ctrl-C ends it;
a kill at any moment loses and doubles nothing."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    sync = declare(commands, "sync", "Push and pull for ever.", _EPILOG)
    sync.add_argument("--interval", type=float, default=60.0, metavar="SECONDS", help="between two rounds (default: %(default)g)")
    sync.set_defaults(command=_sync)


def _sync(options: argparse.Namespace) -> int:
    from annotation.settings import Settings
    from annotation.state import State

    settings, answered = Settings.from_environment(), threading.Event()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does
    try:
        with _receiver(settings, answered):
            _Exchange(settings, State(settings.state)).keep_on(options.interval, answered)
    except KeyboardInterrupt:
        print("stopped")
    return 0


def _receiver(settings: "Settings", answered: threading.Event) -> AbstractContextManager[object]:
    if settings.webhook_secret is None:
        return nullcontext()
    from annotation.webhook import receiving

    return receiving((settings.webhook_host, settings.webhook_port), settings.webhook_secret.get_secret_value(), answered.set)


class _Exchange:
    """Rounds of pulling and pushing."""

    def __init__(self, settings: "Settings", state: "State") -> None:
        self._settings = settings
        self._state = state

    def keep_on(self, interval_s: float, answered: threading.Event) -> None:
        """Pull at once when told so, pull and push at intervals. A mistake in the settings ends it in the first round; later it waits."""
        from annotation.errors import LockedError, OutageError, StudioError
        from semantic_service.store.errors import StoreError

        survived: tuple[type[Exception], ...] = (OutageError, StoreError, LockedError)
        is_well, next_push = True, 0.0
        while True:
            try:
                self._round(is_push_due=(is_push_due := time.monotonic() >= next_push))
                next_push = time.monotonic() + interval_s if is_push_due else next_push
            except survived as error:
                if is_well:
                    _say(f"{error}; trying again every {interval_s:g} s")
                is_well = False
            else:
                if not is_well:
                    _say("all is well again")
                is_well, survived = True, (StudioError, StoreError, LockedError)
            answered.wait(max(0.0, next_push - time.monotonic()) if is_well else interval_s)
            answered.clear()

    def _round(self, *, is_push_due: bool) -> None:
        from annotation.studio import Studio

        with Studio.find(self._settings) as studio:
            if changed := fetch(studio, self._state, self._settings):
                _say(f"{changed} answers new or changed")
            if is_push_due and (sent := self._top_up(studio)):
                _say(f"{sent} tasks sent")

    def _top_up(self, studio: "Studio") -> int:
        counts = studio.counts()
        room = self._settings.queue - (counts.tasks - counts.finished)
        return send_chosen(studio, self._state, self._settings, Wanted(room)) if room >= self._settings.queue * LEAST_ROOM else 0


def _say(what: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}", flush=True)
