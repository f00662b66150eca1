import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.verdict import Policy, PolicyError, ScenePolicy, Suggestion

FULL = """
[scenes.default]
block_at = 0.9
[scenes.kids]
block_at = 0.5
review_at = 0.2
when_uncertain = "pass"
[lexicon]
allow = ["禁毒宣传"]
deny = ["加微信", "网赌"]
"""


def test_every_key_of_a_policy_file_is_read():
    policy = Policy.parse(FULL)
    assert policy.scene("default") == ScenePolicy(block_at=0.9)
    assert policy.scene("kids") == ScenePolicy(block_at=0.5, review_at=0.2, when_uncertain=Suggestion.PASS)
    assert policy.allow == ("禁毒宣传",)
    assert policy.deny == ("加微信", "网赌")


def test_an_empty_file_is_the_default_policy():
    assert Policy.parse("") == Policy()


@given(st.text())
def test_a_scene_without_a_policy_has_the_default_ones(name):
    policy = Policy.parse(FULL)
    assert policy.scene(f"no {name}") == policy.scene("default")


@given(st.text(max_size=30))
def test_any_text_is_a_policy_or_a_policy_error(toml):
    try:
        Policy.parse(toml)
    except PolicyError as refusal:
        assert str(refusal)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("scenes = [", "not TOML"),
        ("[scene.default]\nblock_at = 0.5", r"unknown table \[scene\]: use \[scenes.NAME\] and \[lexicon\]"),
        ("[scenes]\nkids = 3", "scenes.kids must be a table, got 3"),
        ("[scenes.kids]\nblock = 0.5", r"\[scenes.kids\] unknown key 'block': use block_at, review_at, when_uncertain"),
        ("[scenes.kids]\nblock_at = 1.5", r"\[scenes.kids\] block_at must lie in \(0, 1\], got 1.5"),
        ("[scenes.kids]\nblock_at = []", r"\[scenes.kids\] "),
        ("[scenes.kids]\nreview_at = 0.6", r"\[scenes.kids\] review_at must lie in \(0, 0.5\], got 0.6"),
        ('[scenes.kids]\nwhen_uncertain = "block"', r"\[scenes.kids\] when_uncertain must be 'pass' or 'review'"),
        ('[scenes.kids]\nwhen_uncertain = "maybe"', r"\[scenes.kids\] 'maybe'"),
        ('[lexicon]\ndeny = "网赌"', r"\[lexicon\] deny must be a list of non-empty texts"),
        ("[lexicon]\nallow = [1]", r"\[lexicon\] allow must be a list of non-empty texts"),
        ('[lexicon]\nallow = [" "]', r"\[lexicon\] allow must be a list of non-empty texts"),
    ],
)
def test_a_broken_policy_is_refused_with_the_reason(toml, reason):
    with pytest.raises(PolicyError, match=reason):
        Policy.parse(toml)


@pytest.mark.parametrize("toml", ["scenes = 3", 'lexicon = "网赌"', "lexicon = []"])
def test_a_value_in_place_of_a_table_is_refused(toml):
    with pytest.raises(PolicyError):
        Policy.parse(toml)


def test_an_unknown_lexicon_key_is_refused():
    with pytest.raises(PolicyError, match="denied"):
        Policy.parse('[lexicon]\ndenied = ["网赌"]')


@pytest.mark.parametrize("value", ['"0.5"', "true"])
def test_a_threshold_of_another_type_is_refused(value):
    with pytest.raises(PolicyError, match="block_at"):
        Policy.parse(f"[scenes.kids]\nblock_at = {value}")


def test_a_term_that_shows_nothing_is_refused():
    with pytest.raises(PolicyError, match="non-empty"):
        Policy.parse('[lexicon]\ndeny = ["\\u200b"]')
