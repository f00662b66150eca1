"""From calibrated probabilities to a verdict, by the policy of the post's scene."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

from semantic_service.contract.labels import Label
from semantic_service.contract.text import normalise

DEFAULT_SCENE = "default"


class PolicyError(ValueError):
    """A policy that can't be used; the message names the scene, the value and the accepted range."""


class Suggestion(StrEnum):
    """What the forum should do with the post."""

    PASS = "pass"  # noqa: S105 - no password
    REVIEW = "review"
    BLOCK = "block"


class Decider(StrEnum):
    """Who decided."""

    MODEL = "model"
    LEXICON = "lexicon"


@dataclass(frozen=True, slots=True)
class Hit:
    """A lexicon term found at code points `start` (included) to `end` (excluded) of the original text."""

    term: str
    kind: Literal["allow", "deny"]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ScenePolicy:
    """The thresholds of one scene (board) on the calibrated probabilities.

    `block_at`: least p(violation) that blocks, in (0, 1]. `review_at`: least p(suspicious) + p(violation) that is
    reviewed, in (0, 0.5], so that a post more likely flagged than not never passes. `when_uncertain`: the least that an
    uncertain post gets.
    """

    block_at: float = 0.8
    review_at: float = 0.5
    when_uncertain: Suggestion = Suggestion.REVIEW

    def __post_init__(self) -> None:
        if not 0 < self.block_at <= 1:
            raise PolicyError(f"block_at must lie in (0, 1], got {self.block_at}")
        if not 0 < self.review_at <= 0.5:  # noqa: PLR2004 - the docstring says why
            raise PolicyError(f"review_at must lie in (0, 0.5], got {self.review_at}")
        if self.when_uncertain is Suggestion.BLOCK:
            raise PolicyError("when_uncertain must be 'pass' or 'review': an uncertain post is for people to decide")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read one scene's TOML table.

        Raises:
            PolicyError: an unknown key, a wrong type or a value out of range.

        """
        unknown = sorted(set(table) - {"block_at", "review_at", "when_uncertain"})
        if unknown:
            raise PolicyError(f"unknown key {unknown[0]!r}: use block_at, review_at, when_uncertain")
        try:
            return cls(
                block_at=_threshold(table, "block_at", 0.8),
                review_at=_threshold(table, "review_at", 0.5),
                when_uncertain=Suggestion(table.get("when_uncertain", "review")),
            )
        except (TypeError, ValueError) as error:
            raise PolicyError(str(error)) from error


def _threshold(table: Mapping[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PolicyError(f"{key} must be a number, got {value!r}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Policy:
    """What to suggest in each scene, and the terms that decide without the model."""

    scenes: Mapping[str, ScenePolicy] = field(default_factory=lambda: {DEFAULT_SCENE: ScenePolicy()})
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def scene(self, name: str) -> ScenePolicy:
        """Give the policy of a scene; a scene without one has the default scene's."""
        return self.scenes.get(name, self.scenes[DEFAULT_SCENE])

    @classmethod
    def parse(cls, toml: str) -> Self:
        """Read a policy file: `[scenes.NAME]` tables and `[lexicon] allow = [...], deny = [...]`.

        Raises:
            PolicyError: not TOML, an unknown key, a wrong type or a value out of range.

        """
        try:
            tables = tomllib.loads(toml)
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(f"not TOML: {error}") from error
        unknown = sorted(set(tables) - {"scenes", "lexicon"})
        if unknown:
            raise PolicyError(f"unknown table [{unknown[0]}]: use [scenes.NAME] and [lexicon]")
        lexicon = _table(tables, "lexicon")
        if unknown := sorted(set(lexicon) - {"allow", "deny"}):
            raise PolicyError(f"[lexicon] unknown key {unknown[0]!r}: use allow, deny")
        return cls(_scenes(_table(tables, "scenes")), _terms(lexicon, "allow"), _terms(lexicon, "deny"))


def _table(tables: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = tables.get(key, {})
    if not isinstance(table, dict):
        raise PolicyError(f"{key} must be a table, got {table!r}")
    return table


def _scenes(tables: Mapping[str, Any]) -> dict[str, ScenePolicy]:
    scenes = {DEFAULT_SCENE: ScenePolicy()}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise PolicyError(f"scenes.{name} must be a table, got {table!r}")
        try:
            scenes[name] = ScenePolicy.from_table(table)
        except PolicyError as error:
            raise PolicyError(f"[scenes.{name}] {error}") from error
    return scenes


def _terms(lexicon: Mapping[str, Any], key: str) -> tuple[str, ...]:
    terms = lexicon.get(key, [])
    if not isinstance(terms, list) or not all(isinstance(term, str) and normalise(term).text for term in terms):
        raise PolicyError(f"[lexicon] {key} must be a list of non-empty texts")
    return tuple(terms)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one text, and why."""

    label: Label
    probabilities: tuple[float, float, float]
    suggestion: Suggestion
    uncertain: bool
    decided_by: Decider = Decider.MODEL
    hits: tuple[Hit, ...] = ()

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.probabilities)


_SEVEREST_FIRST = tuple(sorted(Label, reverse=True))


def is_uncertain(probabilities: Sequence[float], uncertain_max: float) -> bool:
    """Whether the largest probability is at most `uncertain_max`."""
    return max(probabilities) <= uncertain_max


def decide(
    probabilities: tuple[float, float, float], policy: ScenePolicy, uncertain_max: float = 0.6, hits: tuple[Hit, ...] = ()
) -> Verdict:
    """Judge by the model's probabilities, unless a lexicon term decides.

    A deny term makes a violation; else an allow term passes a text; else the likeliest label counts (the more severe one of
    equals). More probability for violation never softens the verdict.
    """
    uncertain = is_uncertain(probabilities, uncertain_max)
    kinds = {hit.kind for hit in hits}
    if "deny" in kinds:
        return Verdict(Label.VIOLATION, probabilities, Suggestion.BLOCK, uncertain, Decider.LEXICON, hits)
    if "allow" in kinds:
        return Verdict(Label.COMPLIANT, probabilities, Suggestion.PASS, uncertain, Decider.LEXICON, hits)
    label = max(_SEVEREST_FIRST, key=probabilities.__getitem__)  # the first of equals
    return Verdict(label, probabilities, _suggest(probabilities, policy, uncertain=uncertain), uncertain, hits=hits)


def _suggest(probabilities: tuple[float, float, float], policy: ScenePolicy, *, uncertain: bool) -> Suggestion:
    if probabilities[Label.VIOLATION] >= policy.block_at:
        return Suggestion.BLOCK
    if probabilities[Label.SUSPICIOUS] + probabilities[Label.VIOLATION] >= policy.review_at:
        return Suggestion.REVIEW
    return policy.when_uncertain if uncertain else Suggestion.PASS
