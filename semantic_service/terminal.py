"""What a person meets on a terminal: a prompt for posts, a few of them to try, and a label with its probabilities in words and bars."""

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from semantic_service.contract.labels import Label

with contextlib.suppress(ImportError):  # Windows has none
    import readline  # noqa: F401  # gives input() line editing and history

BAR_CELLS = 30
PROMPT = "帖子 / post> "
EXAMPLES = (
    "周末和朋友去爬山，山顶的日出特别美，推荐大家早点出发。",
    "求推荐适合学生党的轻薄本，预算五千左右，主要用来写论文。",
    "有稳定副业，想了解的私聊我，名额不多，懂的来。",
    "就你这水平也好意思发帖？脑子呢，别出来丢人了。",
    "专业代开各类发票，点数低，先开后付，加微 fp-0000",
    "注册即送 88 元彩金，百家乐、老虎机应有尽有，提现秒到账，加微 vip-0000",
)

_COLOURS = {Label.COMPLIANT: "32", Label.SUSPICIOUS: "33", Label.VIOLATION: "31"}  # ANSI green, yellow, red


def never_fail_on_encoding() -> None:
    """Take in bytes that are no text, and print what the terminal can't show as escapes."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # normalise() drops the surrogates
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Post:
    """A text to judge, and what to call it on the screen: never the user's own words."""

    text: str
    heading: str = ""


def posts(texts: Sequence[str], *, demo: bool) -> Iterator[Post]:
    """Give the texts, or the examples; where neither is wanted, ask until an empty line or Ctrl-D, or read one a line from a pipe."""
    if texts:
        yield from map(Post, texts)
    elif demo:
        yield from (Post(text, text) for text in EXAMPLES)
    elif sys.stdin.isatty():
        yield from map(Post, _prompted())
    else:
        yield from (Post(line.rstrip("\n"), f"第 {number} 行 / line {number}") for number, line in enumerate(sys.stdin, start=1))


def _prompted() -> Iterator[str]:
    prompt = PROMPT if sys.stdout.isatty() else ""  # a redirected output holds answers only
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while text := input(prompt).strip():
            yield text
        return
    if prompt:
        print()  # Ctrl-D leaves the cursor behind the prompt


def title(label: Label, *, in_colour: bool) -> str:
    """Name a label in Chinese and English."""
    return _coloured(f"{label.chinese} {label.english}", label, in_colour=in_colour)


def confidence(probability: float) -> str:
    """Say how sure an answer is."""
    return f"置信度 confidence {probability:.1%}"


def bars(probabilities: Sequence[float], *, in_colour: bool) -> list[str]:
    """Draw each label's probability as a line."""
    return [_bar(label, probabilities[label], in_colour=in_colour) for label in Label]


def _bar(label: Label, probability: float, *, in_colour: bool) -> str:
    cells = round(probability * BAR_CELLS)
    filled = _coloured("█" * cells, label, in_colour=in_colour)
    return f"  {label.chinese} {label.english:<10} {filled}{'·' * (BAR_CELLS - cells)} {probability:>6.1%}"


def _coloured(text: str, label: Label, *, in_colour: bool) -> str:
    return f"\033[{_COLOURS[label]}m{text}\033[0m" if in_colour else text
