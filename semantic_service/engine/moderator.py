"""Judge a text: normalise, look for terms, score, decide."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semantic_service.contract.tasks import Task, TaskVerdict
from semantic_service.contract.text import NormalisedText, normalise
from semantic_service.contract.verdict import DEFAULT_SCENE, Policy, Verdict, decide
from semantic_service.engine.classifier import OnnxClassifier, Score
from semantic_service.engine.lexicon import Lexicon

MAX_CHARS = 10_000  # of a text are judged, about 70 windows of 128 tokens; what lies behind is cut


class EmptyTextError(ValueError):
    """Nothing of the text can be seen."""

    def __init__(self) -> None:
        super().__init__("the text is empty, or holds only white space and invisible characters")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with what an answer, a metric or a log line needs beside it. `tasks` are the model's answers, whoever decided."""

    verdict: Verdict
    scene: str
    truncated: bool
    model_version: str
    tasks: tuple[TaskVerdict, ...] = ()


class Moderator:
    """One model under one policy. Safe to call from many threads."""

    def __init__(self, classifier: OnnxClassifier, model_version: str, policy: Policy, uncertain_max: float) -> None:
        self._classifier = classifier
        self._lexicon = Lexicon(policy)
        self.policy = policy
        self.uncertain_max = uncertain_max
        self.model_version = model_version

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the model answers beside the severity."""
        return self._classifier.tasks

    def judge(self, text: str, scene: str = DEFAULT_SCENE) -> Judgement:
        """Judge one text.

        Raises:
            EmptyTextError: nothing is left of the text once it is normalised.

        """
        judgement = self.judge_all([text], scene)[0]
        if isinstance(judgement, EmptyTextError):
            raise judgement
        return judgement

    def judge_all(self, texts: Sequence[str], scene: str = DEFAULT_SCENE) -> list[Judgement | EmptyTextError]:
        """Judge some texts; one of which nothing is left has its error in its place."""
        normalised = [normalise(text) for text in texts]
        scores = iter(self.score_all([text for text in normalised if text.text]))
        return [self.decide(text, next(scores), scene) if text.text else EmptyTextError() for text in normalised]

    def key(self, text: NormalisedText) -> bytes:
        """Name a score: texts with one key have one score, whatever they looked like before they were normalised."""
        return hashlib.blake2b(f"{self.model_version}\n{_read(text)}".encode(), digest_size=16).digest()

    def score_all(self, texts: Sequence[NormalisedText]) -> list[Score]:
        """Run the model on texts that are not empty."""
        return self._classifier.score_all(list(map(_read, texts)))

    def prepare(self, texts: Sequence[NormalisedText]) -> Callable[[], list[Score]]:
        """Make texts that are not empty ready for the model; what is given runs it."""
        return self._classifier.prepare(list(map(_read, texts)))

    def decide(self, text: NormalisedText, score: Score, scene: str = DEFAULT_SCENE) -> Judgement:
        """Make a judgement of a text's score, or of the score of another text with the same key."""
        compliant, suspicious, violation = map(float, score.probabilities)
        hits = self._lexicon.find(text)
        verdict = decide((compliant, suspicious, violation), self.policy.scene(scene), self.uncertain_max, hits)
        answers = zip(self.tasks, score.tasks, strict=True)
        tasks = tuple(TaskVerdict(task, tuple(map(float, probabilities))) for task, probabilities in answers)
        return Judgement(verdict, scene, len(text.text) > MAX_CHARS, self.model_version, tasks)


def _read(text: NormalisedText) -> str:
    """Give what the model reads of a text."""
    return text.text[:MAX_CHARS]
