import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotation.ranking import MEASURES, Strategy, balanced, clipped, in_band, most_uncertain, rank

probabilities = st.integers(0, 30).flatmap(
    lambda posts: arrays(float, (posts, 3), elements=st.floats(0.001, 1)).map(lambda drawn: drawn / drawn.sum(axis=1, keepdims=True))
)


@pytest.mark.parametrize("measure", MEASURES.values())
def test_a_measure_is_0_where_the_model_is_sure_and_1_where_all_labels_are_as_likely(measure):
    assert measure(np.array([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])) == pytest.approx([0, 1])


@pytest.mark.parametrize("measure", MEASURES.values())
@given(probabilities=probabilities)
def test_a_measure_stays_within_0_and_1(measure, probabilities):
    scores = measure(probabilities)
    assert scores.shape == (len(probabilities),)
    assert ((scores >= -1e-9) & (scores <= 1 + 1e-9)).all()


def test_the_measures_differ_in_what_they_ask_about():
    between_two = [0.5, 0.5, 0.0]
    between_all = [0.46, 0.27, 0.27]
    posts = np.array([between_two, between_all])
    assert MEASURES["margin"](posts).argmax() == 0
    assert MEASURES["entropy"](posts).argmax() == 1
    assert MEASURES["least_confidence"](posts).argmax() == 1


@given(scores=arrays(float, st.integers(0, 20), elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_the_most_uncertain_come_first_and_equals_keep_their_order(scores):
    assert most_uncertain(scores).tolist() == sorted(range(len(scores)), key=lambda post: (-scores[post], post))


@given(length=st.integers(0, 50), share=st.floats(0, 1))
def test_clipping_takes_the_most_uncertain_share_and_keeps_the_order(length, share):
    kept = clipped(np.arange(length), share).tolist()
    assert kept == list(range(int(length * share), length))


@given(probabilities=probabilities, uncertain_max=st.floats(0.3, 1))
def test_the_band_holds_every_post_up_to_its_bound_and_no_other(probabilities, uncertain_max):
    ranking = np.arange(len(probabilities))
    kept = in_band(ranking, probabilities, uncertain_max).tolist()
    assert kept == [post for post in ranking if max(probabilities[post]) <= uncertain_max]


@given(guesses=arrays(int, st.integers(0, 30), elements=st.integers(0, 2)))
def test_balanced_guesses_take_turns_until_one_has_no_more(guesses):
    ranking = balanced(np.arange(len(guesses)), guesses)
    assert sorted(ranking) == list(range(len(guesses)))
    for length in range(len(ranking) + 1):
        counts = np.bincount(guesses[ranking[:length]], minlength=3)
        open_ = np.bincount(guesses, minlength=3) > counts
        assert counts[open_].max(initial=0) - counts[open_].min(initial=length) <= 1


@given(probabilities=probabilities, share=st.floats(0, 1), uncertain_max=st.floats(0, 1), is_balanced=st.booleans())
def test_a_ranking_names_no_post_twice(probabilities, share, uncertain_max, is_balanced):
    ranking = rank(probabilities, Strategy("margin", uncertain_max, share, is_balanced=is_balanced)).tolist()
    assert len(set(ranking)) == len(ranking) <= len(probabilities)
