import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.text import normalise
from semantic_service.contract.verdict import Hit, Policy
from semantic_service.engine.lexicon import Lexicon
from tests.strategies import INVISIBLE, MARKS, any_text

LEXICON = Lexicon(Policy(allow=("禁毒宣传",), deny=("加微信", "网赌", "Gamble")))
around = st.text("好天气。，abc 123", max_size=10)


def found(lexicon, text):
    return lexicon.find(normalise(text))


def test_no_terms_find_nothing():
    assert found(Lexicon(Policy()), "加微信网赌") == ()


@given(st.lists(any_text | st.sampled_from(["加微信", "网\u200b赌", "ＧAMBLE", "禁毒宣传"])).map("".join))
def test_every_hit_covers_its_term_in_the_original(text):
    for hit in found(LEXICON, text):
        assert 0 <= hit.start < hit.end <= len(text)
        assert normalise(hit.term).text in normalise(text[hit.start : hit.end]).text


@given(around, st.sampled_from(["加微信", "网赌", "禁毒宣传"]), around, st.data())
def test_a_disguised_term_is_found_where_it_stands(before, term, after, data):
    disguised = "".join(character + data.draw(st.text(INVISIBLE + MARKS, max_size=2)) for character in term[:-1]) + term[-1]
    hits = found(LEXICON, before + disguised + after)
    assert [(hit.term, hit.start, hit.end) for hit in hits] == [(term, len(before), len(before) + len(disguised))]


@pytest.mark.parametrize("text", ["gamble", "GAMBLE", "ｇａｍｂｌｅ", "ＧＡＭＢＬＥ", "g\u200bamble"])
def test_terms_and_texts_are_normalised_alike(text):
    assert found(LEXICON, text) == (Hit("Gamble", "deny", 0, len(text)),)


@given(st.permutations(["加微信", "网赌", "禁毒宣传"]))
def test_hits_come_in_the_order_of_the_text(terms):
    hits = found(LEXICON, "，".join(terms))
    assert [hit.term for hit in hits] == list(terms)
    assert [hit.start for hit in hits] == sorted(hit.start for hit in hits)


def test_overlapping_terms_are_all_found():
    lexicon = Lexicon(Policy(allow=("网络赌场打击",), deny=("网络赌场", "赌场", "赌场")))
    assert sorted((hit.kind, hit.term, hit.start, hit.end) for hit in found(lexicon, "去网络赌场打击行动")) == [
        ("allow", "网络赌场打击", 1, 7),
        ("deny", "网络赌场", 1, 5),
        ("deny", "赌场", 3, 5),
        ("deny", "赌场", 3, 5),
    ]


def test_positions_count_code_points_of_the_original():
    assert found(LEXICON, "😀👨‍👩‍👧 加\u200b微信") == (Hit("加微信", "deny", 7, 11),)


def test_a_term_longer_than_a_run_still_matches():
    assert [hit.term for hit in found(Lexicon(Policy(deny=("哈哈哈哈哈",))), "哈哈哈哈哈哈")] == ["哈哈哈哈哈"]


def test_ten_thousand_terms_are_one_pass():
    lexicon = Lexicon(Policy(deny=tuple(f"词{number}号" for number in range(10_000))))
    assert found(lexicon, "他说词9999号") == (Hit("词9999号", "deny", 2, 8),)
