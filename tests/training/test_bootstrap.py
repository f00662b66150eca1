import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from training.bootstrap import middle, resample
from training.evaluate import Scored, measure

counts = st.lists(st.integers(0, 40), min_size=2, max_size=9).filter(any)


def scored(rows, right, seed=3):
    """Give rows of which a share `right` is answered rightly, the others at random."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(Label), rows)
    answer = np.where(random.random(rows) < right, truth, random.integers(0, len(Label), rows))
    return Scored(np.eye(len(Label))[answer] * 0.7 + 0.1, truth)


def by_rows(truth, answer, times=1000):
    """Resample as the book says: draw rows with replacement, and measure them."""
    random = np.random.default_rng(11)
    drawn = [random.integers(0, len(truth), len(truth)) for _ in range(times)]
    pairs = [(truth[rows], answer[rows]) for rows in drawn]
    return {
        "accuracy": [(truths == answers).mean() for truths, answers in pairs],
        "macro_f1": [np.mean([f1(truths == label, answers == label) for label in Label]) for truths, answers in pairs],
        "false_positive_rate": [(answers != 0)[truths == 0].mean() for truths, answers in pairs],
    }


def f1(truths, answers):
    return 2 * (truths & answers).sum() / (truths.sum() + answers.sum())


def test_counts_drawn_anew_show_what_rows_drawn_anew_show():
    some = scored(150, 0.6)
    intervals = measure(some, 1.0).intervals
    for name, values in by_rows(some.truth, some.probabilities.argmax(axis=1)).items():
        assert getattr(intervals, name) == pytest.approx(middle(np.array(values)), abs=0.02), name


@given(counts, st.integers(1, 50))
def test_a_resample_has_as_many_rows_and_no_kind_that_was_not_there(some, times):
    drawn = resample(some, times, np.random.default_rng(1))
    assert drawn.shape == (times, len(some))
    assert (drawn.sum(axis=1) == sum(some)).all()
    assert not drawn[:, np.array(some) == 0].any()


@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
def test_intervals_hold_what_was_measured(right):
    metrics = measure(scored(400, right), 1.0)
    measured = {
        "accuracy": metrics.accuracy,
        "macro_f1": metrics.macro_f1,
        "flagged_accuracy": metrics.flagged.accuracy,
        "false_positive_rate": metrics.flagged.false_positive_rate,
    }
    for name, value in measured.items():
        low, high = getattr(metrics.intervals, name)
        assert 0 <= low <= value <= high <= 1, name


def test_four_times_the_rows_halve_the_interval():
    widths = [np.diff(measure(scored(rows, 0.7), 1.0).intervals.accuracy)[0] for rows in (500, 2000)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


def test_the_same_rows_have_the_same_intervals():
    assert measure(scored(90, 0.7), 1.0).intervals == measure(scored(90, 0.7), 1.0).intervals


def test_without_a_compliant_row_there_is_no_interval_of_false_positives():
    some = scored(60, 0.7)
    flagged = some.truth != Label.COMPLIANT
    assert measure(Scored(some.probabilities[flagged], some.truth[flagged]), 1.0).intervals.false_positive_rate is None


def test_five_thousand_rows_take_no_time():
    some = scored(5_000, 0.7)
    started = time.perf_counter()
    measure(some, 1.0)
    assert time.perf_counter() - started < 2
