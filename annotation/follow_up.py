"""What is sent to annotators beside what selection chose: disputed posts, posts with known labels, suspected label errors."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from annotation.settle import DEFAULT_OVERLAP, Overlap, State, by_text, settle
from semantic_service.contract.answers import Answer, Purpose
from semantic_service.contract.records import Record
from semantic_service.contract.text import text_id

GOLD_SHARE = 0.05  # of all that annotators get

Sent = Collection[tuple[str, Purpose]]  # text id and purpose of every task that Label Studio has


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A post to send once more, or for the first time, and why."""

    text: str
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be sent: so many chosen posts, beside the tasks already `sent`."""

    chosen: int
    sent: Sent
    overlap: Overlap = DEFAULT_OVERLAP
    gold_share: float = GOLD_SHARE

    def __post_init__(self) -> None:
        if not 0 <= self.gold_share < 1:
            raise ValueError(f"gold_share must lie in [0, 1), got {self.gold_share}")


def follow_up(answers: Collection[Answer], gold: Iterable[Record], suspects: Iterable[Record], plan: Plan) -> list[FollowUp]:
    """Say what to send beside the chosen posts: what was sent before under the same purpose is not sent again.

    An annotator must not be able to tell gold posts from those that selection chose.
    """
    found = [*adjudications(answers, plan.overlap), *(FollowUp(record.text, Purpose.LABEL_ERROR) for record in suspects)]
    unsent = [item for item in found if (text_id(item.text), item.purpose) not in plan.sent]
    return [*unsent, *_gold(gold, plan, plan.chosen + len(unsent))]


def adjudications(answers: Iterable[Answer], overlap: Overlap) -> list[FollowUp]:
    """Give the posts that annotators could not agree on."""
    groups = by_text(answers)
    return [
        FollowUp(groups[disputed][0].text, Purpose.ADJUDICATION)
        for disputed in settle((answer for given in groups.values() for answer in given), overlap).ids(State.DISPUTED)
    ]


def _gold(gold: Iterable[Record], plan: Plan, others: int) -> list[FollowUp]:
    """Bring gold posts up to their share of all tasks, so that pushes of a few posts get theirs in time; hashes give the order."""
    were_gold = sum(purpose is Purpose.GOLD for _, purpose in plan.sent)
    others += len(plan.sent) - were_gold
    wanted = int(others * plan.gold_share / (1 - plan.gold_share)) - were_gold
    fresh = {record.id: record for record in gold if (record.id, Purpose.GOLD) not in plan.sent}
    ordered = sorted(fresh.values(), key=lambda record: hashlib.sha256(f"gold {record.id}".encode()).digest())
    return [FollowUp(record.text, Purpose.GOLD) for record in ordered[: max(0, wanted)]]
