"""Which int8 is taken, and by which rows it is calibrated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_service.contract.labels import Label
from training.dataset import Example
from training.evaluate import Scored, measure
from training.precision import OWN_ROWS, Candidate, calibrating, fastest

MEASURED = measure(Scored(np.eye(3), np.arange(3)), 1.0)


def candidate(name: str, loss: float, macro_f1: float) -> Candidate:
    return Candidate(Path(name), 1.0, replace(MEASURED, loss=loss, macro_f1=macro_f1))


PLAIN = candidate("fp32", 0.600, 0.650)


@pytest.mark.parametrize(
    ("fast", "slow", "is_asked_for", "taken"),
    [
        ((0.604, 0.648), (0.603, 0.653), False, "fast"),  # as good, and faster
        ((0.640, 0.648), (0.603, 0.653), False, "slow"),  # its loss is higher
        ((0.604, 0.640), (0.603, 0.653), False, "slow"),  # macro-F1 falls
        ((0.604, 0.640), (0.603, 0.653), True, "fast"),
        ((0.604, 0.640), (0.603, 0.640), False, "fp32"),
    ],
)
def test_the_fastest_that_will_do_is_taken(*, fast: tuple[float, float], slow: tuple[float, float], is_asked_for: bool, taken: str) -> None:
    quantised = [candidate("fast", *fast), candidate("slow", *slow)]
    assert fastest(PLAIN, quantised, is_asked_for=is_asked_for).folder.name == taken


def test_rows_of_ones_own_calibrate_where_there_are_enough() -> None:
    named = Example("一", Label.VIOLATION, "others.jsonl", 1, source="others")
    own = Example("二", Label.COMPLIANT, "own.jsonl", 1)
    unlabelled = Example("三", None, "own.jsonl", 2, {"category": "abuse"})
    assert calibrating([named, unlabelled, *[own] * OWN_ROWS]).tolist() == [False, *[True] * OWN_ROWS]
    assert calibrating([named, unlabelled, *[own] * (OWN_ROWS - 1)]).all()
