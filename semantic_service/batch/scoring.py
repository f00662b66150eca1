"""Judge a part's rows: the one function that threads, processes and the machines of a cluster run."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from semantic_service.batch.errors import BatchError, RowError
from semantic_service.batch.tables import Layout, Outcome
from semantic_service.contract.tasks import Task
from semantic_service.contract.verdict import Policy
from semantic_service.engine.backends import Backend
from semantic_service.engine.calibration import load_classifier
from semantic_service.engine.live import read_policy
from semantic_service.engine.moderator import EmptyTextError, Judgement, Moderator
from semantic_service.engine.signature import PublicKey, read_bundle
from semantic_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Scored:
    """A part as it comes out."""

    out: bytes
    rows: int
    errors: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What another process needs to judge as this one does; fixed at the start, whatever becomes of the registry and the policy file."""

    model: Path
    signed_by: Path | None
    model_version: str
    policy: Policy = field(hash=False)
    uncertain_max: float
    tasks: tuple[Task, ...] = ()
    backend: Backend = Backend.CPU  # of `auto` each machine takes its own fastest

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Settle on the model and the policy as they stand.

        Raises:
            BundleError: the model must not be served.
            PolicyError: the policy file can't be read or used.

        """
        source = settings.source()
        bundle = source.read(source.version())
        signed_by = None if settings.signed_by is None else settings.signed_by.resolve()
        policy, manifest = read_policy(settings.policy), bundle.manifest
        version, tasks = manifest.model_version, manifest.tasks
        return cls(bundle.path.resolve(), signed_by, version, policy, settings.uncertain_max, tasks, settings.backend)

    def moderator(self) -> Moderator:
        """Load the model.

        Raises:
            BundleError: it must not be served.
            BatchError: it is another model than at the start.

        """
        bundle = read_bundle(self.model, None if self.signed_by is None else PublicKey(self.signed_by))
        version = bundle.manifest.model_version
        if version != self.model_version:
            raise BatchError(
                f"{self.model}: holds {version} here, the batch began with {self.model_version}: put the same bundle everywhere"
            )
        return Moderator(load_classifier(bundle, self.backend), version, self.policy, self.uncertain_max)


def score(moderator: Moderator, layout: Layout, content: Any) -> Scored:
    """Judge a part's rows; a row that can't be judged carries its error."""
    texts = layout.texts(content)
    judgements = iter(moderator.judge_all([text for text in texts if isinstance(text, str)]))
    outcomes = [_outcome(next(judgements)) if isinstance(text, str) else text for text in texts]
    return Scored(layout.out(content, outcomes), len(texts), sum(isinstance(outcome, RowError) for outcome in outcomes))


def _outcome(judgement: Judgement | EmptyTextError) -> Outcome:
    return RowError(f"empty_text: {judgement}") if isinstance(judgement, EmptyTextError) else judgement


def score_elsewhere(recipe: Recipe, layout: Layout, content: Any) -> Scored:
    """Judge a part's rows in a process of its own, which keeps its model."""
    return score(_moderator(recipe), layout, content)


@lru_cache(maxsize=1)
def _moderator(recipe: Recipe) -> Moderator:
    return recipe.moderator()
