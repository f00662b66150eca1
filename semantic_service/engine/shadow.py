"""Shadow mode: a challenger judges a sample of the live posts beside the champion, after the answer and while nobody waits for one."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Self

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.json_lines import JsonLines
from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.verdict import Decider, Policy
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.lanes import Job
from semantic_service.engine.moderator import Judgement, Moderator
from semantic_service.engine.workers import LOWEST_PRIORITY, QueueFullError, Workers

MAX_WAITING = 256  # sampled texts; what comes on top is dropped
PAUSE_S = 0.01  # before a comparison, so that the answer is out, and between looks whether live texts wait

log = logging.getLogger(__name__)


class Comparison(StrEnum):
    """What became of a sampled text; each counts once."""

    AGREE = "agree"
    DISAGREE = "disagree"  # another label, and kept in the file
    DROPPED = "dropped"  # too many were waiting, or the service stopped
    ERROR = "error"  # the challenger failed, or the disagreement could not be kept


@dataclass(frozen=True, slots=True)
class Challenger:
    """The model in the shadow, the share of texts [0, 1] that it sees, and where its disagreements go."""

    moderator: Moderator
    share: float
    file: JsonLines

    @classmethod
    def load(cls, bundle: Bundle, share: float, file: JsonLines) -> Self:
        """Load a bundle as the challenger.

        Raises:
            BundleError: it must not be served.

        """
        classifier = OnnxClassifier.load(bundle)
        # Labels are compared, and they depend neither on the policy nor on what counts as uncertain.
        return cls(Moderator(classifier, bundle.manifest.model_version, Policy(), uncertain_max=0.0), share, file)

    def sees(self, text_id: str) -> bool:
        """Whether a text is in the sample: the same answer for the same text, in every process and at any time."""
        return int(text_id, 16) < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Answered:
    """A post that has been answered."""

    text: str
    text_id: str
    request_id: str
    data_id: str | None
    judgement: Judgement


class Shadow:
    """One thread of the lowest priority, which scores only while no live text waits or runs."""

    def __init__(self, challenger: Challenger, live: Workers, count: Callable[[Comparison], None]) -> None:
        """Compare beside `live`; each outcome goes to `count`."""
        self._challenger = challenger
        self._live = live
        self._count = count
        self._workers = Workers(threads=1, bound=MAX_WAITING, niceness=LOWEST_PRIORITY)
        self._stopping = threading.Event()
        self._failure = ""  # the last one that was logged

    def offer(self, answered: Answered) -> None:
        """Take a text into the sample, if it belongs there. Returns at once."""
        judgement = answered.judgement
        is_of_model = judgement.verdict.decided_by is Decider.MODEL
        is_of_other = judgement.model_version != self._challenger.moderator.model_version  # not once the challenger is the champion
        if not (is_of_model and is_of_other and self._challenger.sees(answered.text_id)):
            return
        try:
            self._workers.submit([Job.alone(partial(self._run, answered), _nobody)])
        except QueueFullError:
            self._count(Comparison.DROPPED)

    def close(self) -> None:
        """Drop what waits and end the thread, once it is done with the text at hand. Nothing may be offered any more."""
        self._stopping.set()
        self._workers.close()

    def _run(self, answered: Answered) -> None:
        while not self._stopping.wait(PAUSE_S) and not self._live.is_idle:
            pass
        if self._stopping.is_set():
            self._count(Comparison.DROPPED)
            return
        try:
            comparison = self._compare(answered)
        except Exception as error:  # noqa: BLE001 - the shadow's door: whatever fails here is nobody's answer
            self._say(error)
            comparison = Comparison.ERROR
        if comparison is Comparison.DISAGREE:
            self._failure = ""  # model and file work again
        self._count(comparison)

    def _compare(self, answered: Answered) -> Comparison:
        judgement = self._challenger.moderator.judge(answered.text, answered.judgement.scene)
        if judgement.verdict.label is answered.judgement.verdict.label:
            return Comparison.AGREE
        row = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "text_id": answered.text_id,
            "request_id": answered.request_id,
            "data_id": answered.data_id,
            "scene": judgement.scene,
            "text": answered.text,
            "champion": _opinion(answered.judgement),
            "challenger": _opinion(judgement),
        }
        self._challenger.file.append([row])
        return Comparison.DISAGREE

    def _say(self, error: Exception) -> None:
        """Log a kind of failure once, without the error's words where they may quote the text."""
        failure = f"{self._challenger.file.path}: {error.strerror}" if isinstance(error, OSError) else type(error).__name__
        if failure != self._failure:
            log.error("a shadow comparison failed, answers are not affected: %s", failure)
        self._failure = failure


def _nobody(_: Job[None]) -> None:
    """Wait for no comparison."""


def _opinion(judgement: Judgement) -> dict[str, object]:
    verdict = judgement.verdict
    probabilities = {name: round(value, 6) for name, value in zip(LABEL_NAMES, verdict.probabilities, strict=True)}
    return {"model_version": judgement.model_version, "label": verdict.label.english, "probabilities": probabilities}
