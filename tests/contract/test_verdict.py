import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.contract.verdict import Decider, Hit, PolicyError, ScenePolicy, Suggestion, decide, is_uncertain

PARTS = 1024  # probabilities are counted in 1024ths: their sums are exact
SEVERITY = {Suggestion.PASS: 0, Suggestion.REVIEW: 1, Suggestion.BLOCK: 2}
parts = st.integers(0, PARTS)
policies = st.builds(
    ScenePolicy,
    block_at=st.floats(0, 1, exclude_min=True),
    review_at=st.floats(0, 0.5, exclude_min=True),
    when_uncertain=st.sampled_from([Suggestion.PASS, Suggestion.REVIEW]),
)
limits = st.floats(0, 1)
hits = st.lists(st.builds(Hit, st.just("词"), st.sampled_from(["allow", "deny"]), st.just(0), st.just(1)), max_size=3).map(tuple)


@st.composite
def probabilities(draw):
    first, second = sorted((draw(parts), draw(parts)))
    return first / PARTS, (second - first) / PARTS, (PARTS - second) / PARTS


@given(probabilities(), policies, limits, st.data())
def test_a_higher_violation_score_never_softens_the_suggestion(before, policy, limit, data):
    compliant, suspicious, violation = before
    from_compliant = data.draw(st.integers(0, int(compliant * PARTS))) / PARTS
    from_suspicious = data.draw(st.integers(0, int(suspicious * PARTS))) / PARTS
    after = compliant - from_compliant, suspicious - from_suspicious, violation + from_compliant + from_suspicious
    assert SEVERITY[decide(after, policy, limit).suggestion] >= SEVERITY[decide(before, policy, limit).suggestion]


@given(probabilities(), st.integers(0, 10), policies)
def test_a_higher_violation_score_never_softens_the_label(before, halvings, policy):
    compliant, suspicious = (value / 2**halvings for value in before[:2])
    after = compliant, suspicious, 1 - compliant - suspicious
    assert decide(after, policy).label >= decide(before, policy).label


@given(probabilities(), st.data(), policies)
def test_what_violation_takes_from_compliant_never_softens_the_label(before, data, policy):
    taken = data.draw(st.integers(0, int(before[0] * PARTS))) / PARTS
    after = before[0] - taken, before[1], before[2] + taken
    assert decide(after, policy).label >= decide(before, policy).label


@pytest.mark.parametrize(
    ("tied", "label"),
    [
        ((0.5, 0.5, 0.0), Label.SUSPICIOUS),
        ((0.5, 0.0, 0.5), Label.VIOLATION),
        ((0.0, 0.5, 0.5), Label.VIOLATION),
        ((1 / 3, 1 / 3, 1 / 3), Label.VIOLATION),
    ],
)
def test_a_tie_goes_to_the_more_severe(tied, label):
    assert decide(tied, ScenePolicy()).label is label


@given(probabilities(), policies, limits)
def test_the_label_is_a_likeliest_one_and_its_probability_the_confidence(given_probabilities, policy, limit):
    verdict = decide(given_probabilities, policy, limit)
    assert verdict.probabilities == given_probabilities
    assert verdict.confidence == max(given_probabilities) == given_probabilities[verdict.label]
    assert verdict.decided_by is Decider.MODEL


@given(probabilities(), policies, limits)
def test_a_text_more_likely_flagged_than_not_never_passes(given_probabilities, policy, limit):
    assume(given_probabilities[1] + given_probabilities[2] >= 0.5)
    assert decide(given_probabilities, policy, limit).suggestion is not Suggestion.PASS


@given(probabilities(), st.floats(0.001, 1), limits)
def test_an_uncertain_text_gets_at_least_what_the_policy_says(given_probabilities, block_at, limit):
    assume(is_uncertain(given_probabilities, limit))
    assert decide(given_probabilities, ScenePolicy(block_at=block_at), limit).suggestion is not Suggestion.PASS


@pytest.mark.parametrize(
    ("scores", "uncertain"),
    [
        ((1 / 3, 1 / 3, 1 / 3), True),
        ((0.4, 0.3, 0.3), True),
        ((0.2, 0.6, 0.2), True),
        ((0.61, 0.2, 0.19), False),
        ((0.0, 0.0, 1.0), False),
    ],
)
def test_uncertain_is_everything_up_to_the_limit(scores, uncertain):
    assert decide(scores, ScenePolicy()).uncertain is uncertain


@pytest.mark.parametrize(
    ("scores", "suggestion"),
    [
        ((0.1, 0.1, 0.8), Suggestion.BLOCK),
        ((0.1, 0.11, 0.79), Suggestion.REVIEW),
        ((0.5, 0.25, 0.25), Suggestion.REVIEW),
        ((0.6, 0.2, 0.2), Suggestion.REVIEW),
        ((0.7, 0.2, 0.1), Suggestion.PASS),
    ],
)
def test_thresholds_include_their_value(scores, suggestion):
    assert decide(scores, ScenePolicy()).suggestion is suggestion


@given(probabilities(), policies, limits, hits)
def test_terms_decide_before_the_model_and_deny_before_allow(given_probabilities, policy, limit, found):
    verdict = decide(given_probabilities, policy, limit, found)
    kinds = {hit.kind for hit in found}
    assert verdict.hits == found
    assert verdict.decided_by is (Decider.LEXICON if found else Decider.MODEL)
    if "deny" in kinds:
        assert (verdict.label, verdict.suggestion) == (Label.VIOLATION, Suggestion.BLOCK)
    elif kinds:
        assert (verdict.label, verdict.suggestion) == (Label.COMPLIANT, Suggestion.PASS)


@pytest.mark.parametrize("block_at", [0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_block_threshold_outside_its_range_is_refused(block_at):
    with pytest.raises(PolicyError, match=rf"block_at must lie in \(0, 1\], got {block_at}"):
        ScenePolicy(block_at=block_at)


@pytest.mark.parametrize("review_at", [0, -0.1, 0.51, float("nan")])
def test_a_review_threshold_outside_its_range_is_refused(review_at):
    with pytest.raises(PolicyError, match=rf"review_at must lie in \(0, 0.5\], got {review_at}"):
        ScenePolicy(review_at=review_at)


def test_uncertainty_alone_never_blocks():
    with pytest.raises(PolicyError, match="when_uncertain must be 'pass' or 'review'"):
        ScenePolicy(when_uncertain=Suggestion.BLOCK)
