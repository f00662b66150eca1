"""`sync`: push and pull for ever."""

import argparse
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare
from annotation.commands.pull import fetch
from annotation.commands.push import send_chosen

if TYPE_CHECKING:
    from annotation.exchange import Sender
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

_EPILOG = """examples
  python -m annotation sync                                       both every minute
  ANNOTATION_WEBHOOK_SECRET=... python -m annotation sync         and answers are fetched as soon as they are given (see `init`)

Keeps ANNOTATION_QUEUE tasks waiting for annotators. While Label Studio or the database is away it waits, and says so once. Ctrl-C ends it; a
kill at any moment loses and doubles nothing."""


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
    """Rounds of pulling and pushing; between them it remembers what the board has, unless something went wrong."""

    def __init__(self, settings: "Settings", state: "State") -> None:
        self._settings = settings
        self._state = state
        self._board: tuple[Studio, Sender] | None = None

    def keep_on(self, interval_s: float, answered: threading.Event) -> None:
        """Pull at once when told so, pull and push at intervals. What is wrong at the beginning ends it; later it waits."""
        from annotation.errors import LockedError, OutageError, StudioError
        from semantic_service.store.errors import StoreError

        survived: tuple[type[Exception], ...] = (OutageError, StoreError, LockedError)
        trouble, next_push = "", 0.0
        while True:
            try:
                self._pull()
                if time.monotonic() >= next_push:
                    self._push()
                    next_push = time.monotonic() + interval_s
            except survived as error:
                self._board = None
                if not trouble:
                    _say(f"{error}; trying again every {interval_s:g} s")
                trouble = str(error)
            else:
                if trouble:
                    _say("all is well again")
                trouble = ""
                survived = (StudioError, StoreError, LockedError)
            answered.wait(interval_s if trouble else max(0.0, next_push - time.monotonic()))
            answered.clear()

    def _pull(self) -> None:
        studio, _ = self._connected()
        if changed := fetch(studio, self._state, self._settings).changed:
            _say(f"{changed} answers new or changed")

    def _push(self) -> None:
        studio, sender = self._connected()
        counts = studio.counts()
        room = self._settings.queue - (counts.tasks - counts.finished)
        if room <= 0:
            return
        with self._state.sending():
            if sent := send_chosen(sender, self._settings, room):
                _say(f"{sent} tasks sent")

    def _connected(self) -> "tuple[Studio, Sender]":
        if self._board is None:
            from annotation.exchange import Sender
            from annotation.studio import Studio

            studio = Studio.find(self._settings)
            self._board = studio, Sender(studio, self._state)
            _say(f"syncing with {studio.page}")
        return self._board


def _say(what: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}", file=sys.stdout, flush=True)
