"""The gate: a challenger against the champion on the same rows, by paired bootstrap."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OnnxClassifier
from training.bootstrap import middle, resample
from training.config import GateConfig
from training.dataset import Example, deduplicate, read_benign, read_examples
from training.errors import DataError
from training.evaluate import Scored, score
from training.tables import cell, markdown_table

Rights = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Check:
    """One share of rows that both models should answer rightly."""

    name: str
    rows: int
    champion: float  # share of the rows answered rightly
    challenger: float
    gain: list[float]  # of the challenger, low and high: the middle 95 % of the resamples
    tolerance: float
    risk: float  # share of the resamples in which the challenger is worse by more than the tolerance
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)


def judge(champion: OnnxClassifier, challenger: OnnxClassifier, gate: GateConfig) -> list[Check]:
    """Score every file of the gate with both models, and compare them.

    Raises:
        DataError: a file can't be used, or has no row to compare on.

    """
    random = np.random.default_rng(gate.seed)
    checks = []
    for name, examples, kind in _sets(gate):
        both = [score(model, examples, f"{name}, {role}") for model, role in ((champion, "champion"), (challenger, "challenger"))]
        found = [_check(f"{name}: {what}", rights, tolerance, gate, random) for what, rights, tolerance in _shares(kind, both, gate)]
        if not found:
            raise DataError(f"{name}: has no row that the gate's {kind} could compare")
        checks += found
    return checks


def _sets(gate: GateConfig) -> Iterator[tuple[str, list[Example], str]]:
    for kind, paths in (("test", gate.test), ("benign", gate.benign), ("evasion", gate.evasion)):
        for path in paths:
            yield path.name, read_benign([path]) if kind == "benign" else deduplicate(read_examples([path])), kind


def _shares(kind: str, both: Sequence[Scored], gate: GateConfig) -> Iterator[tuple[str, list[Rights], float]]:
    """Yield what is compared, whether each model answers each of its rows rightly, and the tolerance."""
    truth = both[0].truth
    answers = [scored.probabilities.argmax(axis=1) for scored in both]
    if kind == "benign" and len(truth):
        yield "ordinary posts left alone", [answer == Label.COMPLIANT for answer in answers], gate.tolerance.benign
    if kind == "evasion" and (truth != Label.COMPLIANT).any():
        disguised = truth != Label.COMPLIANT
        yield "disguised posts flagged", [answer[disguised] != Label.COMPLIANT for answer in answers], gate.tolerance.evasion
    if kind == "test":
        for label in Label:
            if (truth == label).any():
                yield f"recall of {label.english}", [answer[truth == label] == label for answer in answers], gate.tolerance.recall


def _check(name: str, rights: Sequence[Rights], tolerance: float, gate: GateConfig, random: np.random.Generator) -> Check:
    champion, challenger = rights
    rows = len(champion)
    better, worse = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    drawn = resample([better, worse, rows - better - worse], gate.resamples, random)
    gains = (drawn[:, 0] - drawn[:, 1]) / rows
    risk = float((gains < -tolerance).mean())
    return Check(name, rows, float(champion.mean()), float(challenger.mean()), middle(gains), tolerance, risk, holds=risk <= gate.risk)


def gate_table(checks: Sequence[Check]) -> str:
    """Write one Markdown row for each check."""
    names = ["check", "rows", "champion", "challenger", "gain, 95 %", "tolerance", "risk", "holds"]
    rows = [
        [
            cell(check.name),
            f"{check.rows:,}",
            f"{check.champion:.4f}",
            f"{check.challenger:.4f}",
            f"{check.gain[0]:+.4f} … {check.gain[1]:+.4f}",
            f"{check.tolerance:g}",
            f"{check.risk:.2f}",
            "yes" if check.holds else "NO",
        ]
        for check in checks
    ]
    return markdown_table(names, rows)
