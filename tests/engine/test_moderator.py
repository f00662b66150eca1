import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.contract.text import normalise
from semantic_service.contract.verdict import Decider, Policy, ScenePolicy, Suggestion
from semantic_service.engine.moderator import MAX_CHARS, EmptyTextError, Moderator
from tests.strategies import any_text
from tests.tiny_model import NEUTRAL

POLICY = Policy(
    scenes={"default": ScenePolicy(), "kids": ScenePolicy(review_at=0.05), "market": ScenePolicy(when_uncertain=Suggestion.PASS)},
    allow=("禁毒宣传",),
    deny=("加微信",),
)
posts = st.text("赌彩疑中今天好，abc 123", max_size=60)


@pytest.fixture(scope="module")
def strict(classifier):
    return Moderator(classifier, "tiny-1", POLICY, uncertain_max=0.6)


@pytest.mark.parametrize(
    ("text", "label", "suggestion"),
    [
        ("今天天气真好", Label.COMPLIANT, Suggestion.PASS),
        ("有点可疑的消息", Label.SUSPICIOUS, Suggestion.REVIEW),
        ("来赌一把", Label.VIOLATION, Suggestion.BLOCK),
    ],
)
def test_a_post_is_judged_by_the_model(moderator, text, label, suggestion):
    judgement = moderator.judge(text)
    assert (judgement.verdict.label, judgement.verdict.suggestion) == (label, suggestion)
    assert (judgement.verdict.decided_by, judgement.verdict.hits) == (Decider.MODEL, ())
    assert (judgement.model_version, judgement.scene, judgement.truncated) == ("tiny-1", "default", False)


@given(text=any_text)
def test_any_text_is_judged_or_empty(moderator, text):
    if normalise(text).text:
        assert sum(moderator.judge(text).verdict.probabilities) == pytest.approx(1, abs=1e-5)
    else:
        with pytest.raises(EmptyTextError, match="empty"):
            moderator.judge(text)


@pytest.mark.parametrize("text", ["", " \n\u3000", "\u200b\ufeff", "\x00", "\ud800"])
def test_a_text_that_shows_nothing_is_refused(moderator, text):
    with pytest.raises(EmptyTextError, match="the text is empty, or holds only white space and invisible characters"):
        moderator.judge(text)


@given(text=posts)
def test_a_disguise_does_not_change_the_verdict(moderator, text):
    if not normalise(text).text:
        return
    disguised = "".join(f"{character}\u200b\u0336" if character not in "， " else character for character in text.upper())
    assert moderator.judge(disguised).verdict == moderator.judge(text).verdict


def test_a_text_that_says_nothing_is_uncertain_and_judged_severely(moderator):
    verdict = moderator.judge(NEUTRAL).verdict
    assert verdict.uncertain
    assert (verdict.label, verdict.suggestion) == (Label.VIOLATION, Suggestion.REVIEW)


def test_the_limit_of_uncertainty_is_the_moderators(classifier):
    assert not Moderator(classifier, "tiny-1", Policy(), uncertain_max=0.2).judge(NEUTRAL).verdict.uncertain


def test_a_denied_term_blocks_what_the_model_would_pass(strict):
    verdict = strict.judge("你好，加\u200b微信").verdict
    assert (verdict.label, verdict.suggestion, verdict.decided_by) == (Label.VIOLATION, Suggestion.BLOCK, Decider.LEXICON)
    assert [(hit.term, hit.kind, hit.start, hit.end) for hit in verdict.hits] == [("加微信", "deny", 3, 7)]
    assert verdict.probabilities.index(verdict.confidence) == Label.COMPLIANT


def test_an_allowed_term_passes_what_the_model_would_block(strict):
    verdict = strict.judge("禁毒宣传：不要赌").verdict
    assert (verdict.label, verdict.suggestion, verdict.decided_by) == (Label.COMPLIANT, Suggestion.PASS, Decider.LEXICON)


def test_deny_beats_allow(strict):
    assert strict.judge("禁毒宣传，加微信").verdict.suggestion is Suggestion.BLOCK


def test_a_scene_has_its_own_thresholds(strict):
    text = "好" * 4 + "中"  # ordinary, though not by much
    assert strict.judge(text, "default").verdict.suggestion is Suggestion.PASS
    assert strict.judge(text, "kids").verdict.suggestion is Suggestion.REVIEW
    assert strict.judge(text, "kids").scene == "kids"


def test_an_unknown_scene_is_judged_as_the_default_one(strict):
    assert strict.judge("今天真好", "nowhere").verdict == strict.judge("今天真好").verdict


def test_only_the_hard_limit_truncates(moderator):
    assert not moderator.judge("好" + "ab" * (MAX_CHARS // 2 - 1)).truncated
    assert moderator.judge("好" + "ab" * (MAX_CHARS // 2)).truncated


def test_what_lies_before_the_limit_counts(moderator):
    text = "今天" * (MAX_CHARS // 2 - 1)
    assert moderator.judge(text + "赌" + "今" * 10).verdict.label is Label.VIOLATION
    assert moderator.judge(text + "今天" + "赌").verdict.label is Label.COMPLIANT


def test_invisible_padding_does_not_push_a_text_out_of_sight(moderator):
    assert moderator.judge("\u200b" * MAX_CHARS + "来赌一把").verdict.label is Label.VIOLATION
