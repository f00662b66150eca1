"""How far each source is believed is fitted on what the sources label."""

import numpy as np
import pytest
from scipy.special import softmax

from semantic_service.contract.labels import Label
from training.adjustment import fit_adjustment
from training.sources import fold


def rows(source, labels, count):
    """Make logits [count, 6] of two sources: each knows the labels of its own rows, and the other calls them all compliant."""
    random = np.random.default_rng(7)
    truth = random.choice(labels, count)
    logits = random.normal(0, 0.3, (count, 6))
    own, other = (0, 3) if source == 0 else (3, 0)
    logits[np.arange(count), own + truth] += 6
    logits[:, other + Label.COMPLIANT] += 1 if source == 0 else 7
    return logits, truth, np.full(count, source)


def macro_recall(logits, truth):
    answers = fold(logits, 1).argmax(axis=1)
    return np.mean([(answers[truth == label] == label).mean() for label in set(truth.tolist())])


def together(*parts):
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


@pytest.fixture(scope="module")
def both():
    return together(rows(0, [0, 1, 2], 600), rows(1, [0, 2], 600))


def test_a_source_that_drowns_another_is_believed_less():
    logits, truth, source = together(rows(0, [1, 2], 600), rows(1, [0, 2], 600))
    fitted = fit_adjustment(logits, truth, source, {})
    for index in (0, 1):
        own = source == index
        assert macro_recall(logits[own] + fitted, truth[own]) > 0.95
    assert macro_recall(logits[own], truth[own]) < 0.6


def test_ordinary_posts_of_ones_own_give_half_as_many_false_alarms(both):
    logits, truth, source = both
    ordinary = logits[(source == 0) & (truth == Label.COMPLIANT)]
    before, after = (softmax(fold(ordinary + added, 1), axis=1)[:, 1:].sum(axis=1).mean() for added in (0, fit_adjustment(*both, {})))
    assert after == pytest.approx(before / 2, rel=0.05)


def test_a_source_without_rows_is_believed_more_or_less_as_a_whole(both):
    logits, truth, source = both
    three = np.hstack([logits, np.random.default_rng(8).normal(0, 1, (len(logits), 3))])
    assert len({*fit_adjustment(three, truth, source, {})[6:].tolist()}) == 1


def test_a_source_keeps_the_number_that_it_is_given(both):
    logits, truth, source = both
    fitted = fit_adjustment(logits, truth, source, {1: -1.5})
    assert fitted[3:] == pytest.approx([-1.5] * 3)
    assert np.abs(fitted[:3]).max() > 0.1


def test_the_same_rows_give_the_same_numbers_in_any_order(both):
    order = np.random.default_rng(8).permutation(len(both[0]))
    assert fit_adjustment(*(part[order] for part in both), {}) == pytest.approx(fit_adjustment(*both, {}), abs=0.02)


def test_where_nothing_can_be_won_nothing_is_added():
    sure = np.zeros((300, 6))
    truth = np.arange(300) % 3
    sure[np.arange(300), truth] = 50
    assert np.abs(fit_adjustment(sure, truth, np.zeros(300, dtype=int), {})).max() < 0.05
