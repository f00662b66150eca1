"""Terms that decide without the model: deny terms make a violation, allow terms pass."""

from typing import Literal

import ahocorasick_rs

from semantic_service.contract.text import NormalisedText, normalise
from semantic_service.contract.verdict import Hit, Policy


class Lexicon:
    """A policy's terms, found in one pass (Aho-Corasick) however many there are.

    Terms and texts are both normalised; hits point into the original text.
    """

    def __init__(self, policy: Policy) -> None:
        self._terms: list[tuple[str, Literal["allow", "deny"]]] = [(term, "deny") for term in policy.deny]
        self._terms += [(term, "allow") for term in policy.allow]
        patterns = [normalise(term).text for term, _ in self._terms]
        self._automaton = ahocorasick_rs.AhoCorasick(patterns) if patterns else None

    def find(self, text: NormalisedText) -> tuple[Hit, ...]:
        """Find every term in a text, overlapping ones too, in order."""
        if self._automaton is None:
            return ()
        matches = self._automaton.find_matches_as_indexes(text.text, overlapping=True)
        return tuple(
            Hit(*self._terms[index], *text.original_span(start, end)) for index, start, end in sorted(matches, key=lambda match: match[1:])
        )
