"""Undo what people do to a text to slip past a filter, keeping a map back to the original."""

import hashlib
import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache

NORMALISER_VERSION = 1
MAX_RUN = 3  # 哈哈哈哈哈哈 -> 哈哈哈; digits keep their runs, since 1000 is not 10000

# Chinese encoders were trained on these as they are; NFKC would make them ASCII.
_KEPT = frozenset("，！？：；（）～…")
# Letters that show nothing: Hangul fillers, the blank Braille cell, the Khmer inherent vowels.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5")
# Marks laid over any script (Zalgo, enclosing circles, variation selectors); vowel signs of Thai, Hindi, ... are letters and stay.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u180b-\u180d\u180f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef"
)
_MARK = re.compile(f"[{_MARKS}]")
_CLUSTER = re.compile(f"[\\s\\S][{_MARKS}]{{0,8}}")
# Most posts are in normal form: made of such characters alone, with no run to shorten and no white space to drop.
_PLAIN = re.compile(f"[!-@\\[-`a-z{{-~\u4e00-\u9fa5、。《》【】“”‘’—{''.join(sorted(_KEPT))} ]*")
_UNEVEN = re.compile(r"([^0-9])\1{3}|^ |  | $")


@dataclass(frozen=True, slots=True)
class NormalisedText:
    """A normalised text and, for each of its characters, where it came from.

    `starts[i]` and `ends[i]` bound the part of the original, in code points, that became `text[i]`.
    """

    text: str
    starts: "array[int]"
    ends: "array[int]"

    @property
    def id(self) -> str:
        """Name the text by the first 16 hex digits of the sha256 of its normalised form (UTF-8)."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Give the code points of the original behind `text[start:end]` (not empty)."""
        return self.starts[start], self.ends[end - 1]


def normalise(text: str) -> NormalisedText:
    """Bring a text to the one form that models are trained on and serve.

    NFKC (Unicode UAX 15) with the common Chinese punctuation kept, lower case, no invisible or overlaid characters, no
    control characters or lone surrogates, white space as one space, runs of a character cut to `MAX_RUN`. Idempotent.
    """
    if _PLAIN.fullmatch(text) and not _UNEVEN.search(text):
        return NormalisedText(text, array("I", range(len(text))), array("I", range(1, len(text) + 1)))
    characters: list[str] = []
    starts, ends = array("I"), array("I")
    run = 0
    for cluster in _CLUSTER.finditer(text):
        for character in _normal_form(cluster.group()):
            previous = characters[-1] if characters else " "
            run = run + 1 if character == previous else 1
            if character == " " == previous or (run > MAX_RUN and not character.isdigit()):
                if ends:
                    ends[-1] = cluster.end()
                continue
            characters.append(character)
            starts.append(cluster.start())
            ends.append(cluster.end())
    if characters and characters[-1] == " ":
        characters.pop()
        starts.pop()
        ends.pop()
    return NormalisedText("".join(characters), starts, ends)


@lru_cache(maxsize=65_536)
def _normal_form(cluster: str) -> str:
    if cluster[0] in _KEPT:  # whatever is laid over it
        return cluster[0]
    form = cluster
    while True:  # lower-casing can leave a form that NFKC changes again
        after = unicodedata.normalize("NFKC", form).lower()
        if after == form:
            break
        form = after
    return "".join(" " if character.isspace() else character for character in _MARK.sub("", form) if _is_shown(character))


def _is_shown(character: str) -> bool:
    if character.isspace():
        return True
    return character not in _BLANK_LETTERS and unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def text_id(text: str) -> str:
    """Name a text as it is once normalised."""
    return normalise(text).id
