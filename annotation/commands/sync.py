"""`sync`: push and pull for ever."""

import argparse
import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from annotation.commands.options import Commands, declare, opened, read_reviews
from annotation.commands.pull import fetch, write_labels
from annotation.commands.push import send_chosen

if TYPE_CHECKING:
    from annotation.retrain import Retrainer
    from annotation.settings import Settings
    from annotation.state import State
    from annotation.studio import Studio

LEAST_ROOM = 0.2  # of the queue: choosing reads the whole store, which is not worth it for a few
_EPILOG = """examples
  python -m annotation sync                                       both every minute
  ANNOTATION_WEBHOOK_SECRET=... python -m annotation sync         and answers are fetched as soon as they are given (see `init`)
  python -m annotation sync --retrain my.yaml                     and a model is trained when it is due, and promoted if the gate lets it

Keeps ANNOTATION_QUEUE tasks waiting for annotators. While Label Studio or the database is away it waits, and says so once. Ctrl-C ends it;
a kill at any moment loses and doubles nothing. Training anew is due after 500 new labels or, with at least 50, when the model misses or is
overturned too often, or posts have drifted. Name data/annotations/20*.jsonl under data.train of the config: that is where labels land."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    sync = declare(commands, "sync", "Push and pull for ever.", _EPILOG)
    sync.add_argument("--interval", type=float, default=60.0, metavar="SECONDS", help="between two rounds (default: %(default)g)")
    sync.add_argument("--retrain", type=Path, metavar="CONFIG", help="train anew by this training config when it is due (default: never)")
    sync.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="the registry (default: %(default)s)")
    sync.set_defaults(command=_sync)


def _sync(options: argparse.Namespace) -> int:
    from annotation.retrain import Retrainer
    from annotation.settings import Settings
    from annotation.state import State

    settings, answered = Settings.from_environment(), threading.Event()
    retrainer = None if options.retrain is None else Retrainer(options.retrain, options.models)
    if retrainer is not None:
        retrainer.check()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does
    try:
        with _receiver(settings, answered):
            _Exchange(settings, State(settings.state), retrainer).keep_on(options.interval, answered)
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

    def __init__(self, settings: "Settings", state: "State", retrainer: "Retrainer | None") -> None:
        self._settings = settings
        self._state = state
        self._retrainer = retrainer
        self._has_news = True  # answers that no labels were written from; of those before the start nothing is known

    def keep_on(self, interval_s: float, answered: threading.Event) -> None:
        """Pull at once when told so, pull and push at intervals. A mistake in the settings ends it in the first round; later it waits."""
        from annotation.errors import AnnotationError, LockedError, OutageError, ServiceError
        from semantic_service.store.errors import StoreError

        survived: tuple[type[Exception], ...] = (OutageError, ServiceError, StoreError, LockedError)
        said, next_push = None, 0.0
        while True:
            try:
                self._round(is_push_due=(is_push_due := time.monotonic() >= next_push))
                next_push = time.monotonic() + interval_s if is_push_due else next_push
            except survived as error:
                if said != "away":
                    _say(f"{error}; trying again every {interval_s:g} s")
                said = "away"
            else:
                if said != "well":
                    _say(f"all is well; a round every {interval_s:g} s" if said is None else "all is well again")
                said, survived = "well", (AnnotationError, StoreError)
            answered.wait(max(0.0, next_push - time.monotonic()) if said == "well" else interval_s)
            answered.clear()

    def _round(self, *, is_push_due: bool) -> None:
        """Fetch answers; at intervals write labels too (each file holds several), top up the tasks, and train anew if it is due."""
        from annotation.studio import Studio

        with Studio.find(self._settings) as studio:
            if changed := fetch(studio, self._state, self._settings):
                _say(f"{changed} answers new or changed")
                self._has_news = True
            if not is_push_due:
                return
            if self._has_news and (written := write_labels(self._settings)):
                _say(written)
            self._has_news = False
            if sent := self._top_up(studio):
                _say(f"{sent} tasks sent")
        if reason := self._retrain():
            _say(f"training anew: {reason}")

    def _top_up(self, studio: "Studio") -> int:
        counts = studio.counts()
        room = self._settings.queue - (counts.tasks - counts.finished)
        if room < self._settings.queue * LEAST_ROOM:
            return 0
        return send_chosen(studio, self._settings, room, read_reviews(None, "text", self._settings))

    def _retrain(self) -> str | None:
        if self._retrainer is None:
            return None
        from annotation.triggers import Rules, retrain_if_due

        with opened(self._settings) as store:
            return retrain_if_due(store, self._retrainer, self._settings.data, Rules(overlap=self._settings.overlap()))


def _say(what: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}", flush=True)
