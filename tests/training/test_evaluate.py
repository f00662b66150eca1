import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from semantic_service.contract.labels import LABEL_NAMES, Label
from training.calibrate import TEMPERATURE_RANGE, expected_calibration_error, fit_temperature, negative_log_likelihood
from training.dataset import Example
from training.evaluate import Scored, measure, score

COMPLIANT, SUSPICIOUS, VIOLATION = Label
# truth: three compliant, two suspicious, three violations; the answer is right in 5 of 8 rows
SMALL = Scored(
    np.array(
        [
            (0.8, 0.1, 0.1),  # compliant, right
            (0.6, 0.3, 0.1),  # compliant, right, and uncertain
            (0.3, 0.2, 0.5),  # compliant, taken for a violation
            (0.1, 0.8, 0.1),  # suspicious, right
            (0.2, 0.1, 0.7),  # suspicious, taken for a violation
            (0.0, 0.1, 0.9),  # violation, right
            (0.1, 0.0, 0.9),  # violation, right
            (0.7, 0.1, 0.2),  # violation, missed
        ]
    ),
    np.array([0, 0, 0, 1, 1, 2, 2, 2]),
)
probabilities = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(0.01, 1)).map(
    lambda weights: weights / weights.sum(axis=1, keepdims=True)
)
scored_rows = probabilities.flatmap(lambda rows: st.builds(Scored, st.just(rows), arrays(np.int64, len(rows), elements=st.integers(0, 2))))
counts = st.lists(st.tuples(*[st.integers(1, 40)] * 3), min_size=1, max_size=4)


def only(*labels):
    rows = np.isin(SMALL.truth, labels)
    return Scored(SMALL.probabilities[rows], SMALL.truth[rows])


def numbers_in(value):
    if isinstance(value, dict | list):
        return [number for part in (value.values() if isinstance(value, dict) else value) for number in numbers_in(part)]
    return [value]


def test_a_small_file_is_measured_as_by_hand():
    metrics = measure(SMALL, 1.0)
    assert metrics.rows == 8
    assert metrics.accuracy == pytest.approx(5 / 8)
    assert metrics.confusion == [[2, 0, 1], [0, 1, 1], [1, 0, 2]]
    assert metrics.uncertain_share == pytest.approx(2 / 8)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 4 / 7) / 3)
    assert metrics.loss == pytest.approx(-sum(map(math.log, (0.8, 0.6, 0.3, 0.8, 0.1, 0.9, 0.9, 0.2))) / 8)


@pytest.mark.parametrize(
    ("label", "precision", "recall", "support", "auc"),
    [
        (COMPLIANT, 2 / 3, 2 / 3, 3, 13 / 15),  # of the 3 * 5 pairs, 0.7 beats 0.6 and 0.3
        (SUSPICIOUS, 1, 1 / 2, 2, 8.5 / 12),  # of 2 * 6: 0.1 loses to 0.3 and 0.2, ties three times
        (VIOLATION, 2 / 4, 2 / 3, 3, 13 / 15),  # of 3 * 5: 0.2 loses to 0.5 and 0.7
    ],
)
def test_each_label_is_measured_against_the_others(label, precision, recall, support, auc):
    measured = measure(SMALL, 1.0).labels[label.english]
    assert (measured.precision, measured.recall, measured.support) == (pytest.approx(precision), pytest.approx(recall), support)
    assert measured.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert measured.auc == pytest.approx(auc)


def test_flagged_takes_suspicious_and_violation_together():
    flagged = measure(SMALL, 1.0).flagged
    assert flagged.accuracy == pytest.approx(6 / 8)
    assert (flagged.precision, flagged.recall, flagged.f1) == (pytest.approx(4 / 5), pytest.approx(4 / 5), pytest.approx(4 / 5))
    assert flagged.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert flagged.false_positive_rate == pytest.approx(1 / 3)
    assert flagged.false_negative_rate == pytest.approx(1 / 5)
    assert flagged.auc == pytest.approx(13 / 15)


def test_a_label_without_rows_has_no_auc_and_stays_out_of_macro_f1():
    rows = only(COMPLIANT)
    metrics = measure(Scored(rows.probabilities[:2], rows.truth[:2]), 1.0)
    assert [metrics.labels[name].auc for name in LABEL_NAMES] == [None] * 3
    assert [metrics.labels[name].support for name in LABEL_NAMES] == [2, 0, 0]
    assert metrics.macro_f1 == 1.0
    assert (metrics.flagged.auc, metrics.flagged.false_positive_rate, metrics.flagged.false_negative_rate) == (None, 0.0, None)


def test_a_file_of_flagged_rows_only_has_no_false_positive_rate():
    flagged = measure(only(SUSPICIOUS, VIOLATION), 1.0).flagged
    assert (flagged.false_positive_rate, flagged.auc) == (None, None)
    assert flagged.false_negative_rate == pytest.approx(1 / 5)


@settings(max_examples=30)
@given(scored_rows, st.floats(0.2, 5))
def test_whatever_the_rows_the_metrics_are_numbers_or_none(rows, temperature):
    metrics = measure(rows, temperature)
    values = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert all(value is None or value >= 0 for value in numbers_in(values))
    assert np.sum(metrics.confusion) == metrics.rows == sum(label.support for label in metrics.labels.values())
    assert np.trace(metrics.confusion) == pytest.approx(metrics.accuracy * metrics.rows)


@settings(max_examples=30)
@given(scored_rows, st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(rows, order):
    kept = [index for index in order if index < len(rows.truth)]
    shuffled = measure(Scored(rows.probabilities[kept], rows.truth[kept]), 1.0)
    assert numbers_in(shuffled.as_dict()) == pytest.approx(numbers_in(measure(rows, 1.0).as_dict()))


@settings(max_examples=30)
@given(scored_rows)
def test_a_temperature_of_one_changes_no_calibration(rows):
    metrics = measure(rows, 1.0)
    assert metrics.ece == pytest.approx(metrics.ece_before_calibration)


def test_calibration_is_compared_with_the_scores_before_it():
    overconfident = Scored(softmax(np.tile([4.0, 0.0, 0.0], (10, 1)), axis=1), np.array([0] * 5 + [1] * 5))
    metrics = measure(overconfident.at_temperature(4), 4)
    assert metrics.ece_before_calibration == pytest.approx(math.exp(4) / (math.exp(4) + 2) - 0.5)
    assert metrics.ece == pytest.approx(math.e / (math.e + 2) - 0.5)


@given(scored_rows, st.floats(0.25, 4))
def test_a_temperature_is_undone_by_its_inverse_and_keeps_the_answers(rows, temperature):
    softened = rows.at_temperature(temperature)
    assert softened.at_temperature(1 / temperature).probabilities == pytest.approx(rows.probabilities)
    assert np.argsort(np.sort(softened.probabilities, axis=1), axis=1).tolist() == [[0, 1, 2]] * len(rows.truth)
    likeliest = softened.probabilities[np.arange(len(rows.truth)), rows.probabilities.argmax(axis=1)]
    assert likeliest == pytest.approx(softened.probabilities.max(axis=1))


@pytest.mark.parametrize("right", range(11))
def test_confidence_that_is_the_share_of_right_answers_has_no_calibration_error(right):
    correct = np.arange(10) < right
    assert expected_calibration_error(np.full(10, right / 10), correct) == pytest.approx(0)


def test_overconfidence_is_the_gap_between_confidence_and_accuracy():
    assert expected_calibration_error(np.full(10, 0.9), np.arange(10) < 5) == pytest.approx(0.4)


def test_the_gaps_of_bins_are_weighed_by_their_rows():
    confidence = np.array([0.95] * 6 + [0.5] * 2)
    correct = np.array([True] * 3 + [False] * 3 + [True] * 2)
    assert expected_calibration_error(confidence, correct) == pytest.approx(6 / 8 * 0.45 + 2 / 8 * 0.5)


def test_errors_in_opposite_directions_cancel_only_within_a_bin():
    correct = np.array([True, False])
    assert expected_calibration_error(np.array([0.5, 0.5]), correct) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.5, 0.9]), correct) == pytest.approx((0.5 + 0.9) / 2)


def test_full_confidence_falls_in_the_last_bin():
    assert expected_calibration_error(np.array([1.0, 0.99]), np.array([True, True])) == pytest.approx(0.005)


def as_seen(groups, temperature):
    """Give logits that, at the temperature, are the very frequencies of the labels in each group of rows."""
    logits, labels = [], []
    for group in groups:
        shares = np.array(group) / sum(group)
        logits += [temperature * np.log(shares)] * sum(group)
        labels += [label for label, count in enumerate(group) for _ in range(count)]
    return np.array(logits), np.array(labels)


@given(counts, st.floats(0.1, 10))
def test_the_temperature_that_made_scores_overconfident_is_found(groups, temperature):
    assume(any(max(group) > 1.5 * min(group) for group in groups))
    logits, labels = as_seen(groups, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.02)


@given(counts, st.floats(0.1, 10))
def test_the_fitted_temperature_never_loses_to_none(groups, temperature):
    logits, labels = as_seen(groups, temperature)
    fitted = fit_temperature(logits, labels)
    assert negative_log_likelihood(logits / fitted, labels) <= negative_log_likelihood(logits, labels) + 1e-6


def test_scores_that_are_always_right_keep_a_temperature_in_range():
    fitted = fit_temperature(np.eye(3) * 5, np.arange(3))
    assert TEMPERATURE_RANGE[0] <= fitted < 0.2


def test_the_loss_of_a_coin_is_its_entropy():
    assert negative_log_likelihood(np.zeros((4, 2)), np.array([0, 1, 1, 0])) == pytest.approx(math.log(2))


def test_the_engine_scores_each_row_in_order(classifier):
    texts = ["今天天气", "加微信", "赌", "好"] * 5
    scored = score(classifier, [Example(text, Label(index % 3), "f", index) for index, text in enumerate(texts)], "test")
    assert scored.truth.tolist() == [index % 3 for index in range(20)]
    assert scored.probabilities == pytest.approx(np.array([classifier.score(text).probabilities for text in texts]), abs=1e-6)


def test_metrics_can_be_compared():
    metrics = measure(SMALL, 1.0)
    assert metrics == measure(SMALL, 1.0)
    assert metrics != replace(metrics, rows=9)
