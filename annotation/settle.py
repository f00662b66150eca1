"""From what annotators answered to one label a post, or to what has to be asked again."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record
from semantic_service.contract.text import normalise


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many people label a post: a `share` of all posts, drawn by the hash of the text, is for several, the rest for one."""

    annotators: int = 2
    share: float = 0.2

    def __post_init__(self) -> None:
        if self.annotators < 1 or not 0 <= self.share <= 1:
            raise ValueError(f"annotators must be at least 1 and share in [0, 1], got {self.annotators} and {self.share}")

    def needed(self, text_id: str) -> int:
        """Say how many people must answer before a post's label counts; the same today and tomorrow, here and on another machine."""
        drawn = hashlib.sha256(f"overlap {text_id}".encode()).digest()  # not the id itself: training splits by that
        return self.annotators if int.from_bytes(drawn[:4]) < self.share * 2**32 else 1


DEFAULT_OVERLAP = Overlap()


class State(StrEnum):
    """How far a post is."""

    SETTLED = "settled"
    WAITING = "waiting"  # fewer people than needed have answered
    DISPUTED = "disputed"  # no answer has more than half of the votes: for an adjudicator
    UNDECIDED = "undecided"  # "can't tell" won, or there is nothing to read


@dataclass(frozen=True, slots=True)
class Outcome:
    """Settled posts as lines of `data/annotations`, and every answered post's state by text id. Gold posts are in neither."""

    records: tuple[Record, ...]
    states: Mapping[str, State]

    def ids(self, state: State) -> tuple[str, ...]:
        """Give the text ids in a state."""
        return tuple(text_id for text_id, found in self.states.items() if found is state)


def by_text(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Group the answers that count by text id, oldest first: of one annotator's answers to one task, the latest."""
    latest: dict[tuple[int, str], Answer] = {}
    for answer in sorted(answers, key=lambda answer: (answer.updated_at, answer.annotation_id)):
        latest.pop((answer.task_id, answer.annotator), None)
        latest[answer.task_id, answer.annotator] = answer
    groups: dict[str, list[Answer]] = defaultdict(list)
    for answer in latest.values():
        groups[answer.text_id].append(answer)
    return dict(groups)


def votes(answers: Iterable[Answer]) -> dict[str, Label | None]:
    """Give each annotator's own opinion of one text, by annotator: gold posts and adjudications are none."""
    return {answer.annotator: answer.label for answer in answers if answer.purpose not in {Purpose.GOLD, Purpose.ADJUDICATION}}


def settle(answers: Iterable[Answer], overlap: Overlap = DEFAULT_OVERLAP) -> Outcome:
    """Decide each post's label by its adjudicator, else by more than half of the votes; "can't tell" is a vote too."""
    records, states = [], {}
    for text_id, given in by_text(answers).items():
        counted = [answer for answer in given if answer.purpose is not Purpose.GOLD]
        if not counted:
            continue
        states[text_id], label = _decide(counted, overlap.needed(text_id))
        if label is not None:
            records.append(_record(counted, label))
    return Outcome(tuple(records), states)


def _decide(answers: Sequence[Answer], needed: int) -> tuple[State, Label | None]:
    adjudications = [answer.label for answer in answers if answer.purpose is Purpose.ADJUDICATION]
    opinions = votes(answers)
    if not normalise(answers[0].text).text:
        return State.UNDECIDED, None
    if adjudications:
        winner = adjudications[-1]
    elif len(opinions) < needed:
        return State.WAITING, None
    else:
        winner, count = Counter(opinions.values()).most_common(1)[0]
        if 2 * count <= len(opinions):
            return State.DISPUTED, None
    return (State.UNDECIDED, None) if winner is None else (State.SETTLED, winner)


def _record(answers: Sequence[Answer], label: Label) -> Record:
    """Write a label down with who agrees with it, when the last of all answers came, and what the model had thought."""
    judged = next((answer for answer in answers if answer.model_version is not None), answers[0])
    return Record(
        text=answers[0].text,
        label=label,
        source=f"annotation/{_purpose(answers)}",
        annotators=tuple(dict.fromkeys(answer.annotator for answer in answers if answer.label == label)),
        created_at=max(answer.updated_at for answer in answers),
        model_version=judged.model_version,
        confidence=judged.confidence,
    )


def _purpose(answers: Sequence[Answer]) -> Purpose:
    """Say why a post was asked about at first; one that was drawn at random stays so, since rates are taken over those."""
    purposes = [answer.purpose for answer in answers]
    if Purpose.RANDOM in purposes:
        return Purpose.RANDOM
    return next((purpose for purpose in purposes if purpose is not Purpose.ADJUDICATION), Purpose.ADJUDICATION)
