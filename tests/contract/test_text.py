import unicodedata
from itertools import groupby

from hypothesis import example, given
from hypothesis import strategies as st

from semantic_service.contract.text import MAX_RUN, normalise, text_id
from tests.strategies import INVISIBLE, MARKS, any_text

chinese = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=12)
plain = st.text("赌博彩票加微信abcxyz", min_size=1, max_size=12)
shown = st.text("赌博彩票加微信abc，！？：；（）0123456789", min_size=1, max_size=12)


@given(any_text)
@example("İ")
@example("\u0345\u0399")
@example("e\u200b\u0301")
@example("ﷺ" * 5)
@example("\ud83d\ude00")
def test_normalising_twice_changes_nothing(text):
    once = normalise(text).text
    assert normalise(once).text == once


@given(any_text)
def test_the_normal_form_can_be_written_as_utf8(text):
    normalise(text).text.encode("utf-8")


@given(any_text)
def test_the_normal_form_has_single_spaces_and_none_around(text):
    normal = normalise(text).text
    assert normal == " ".join(normal.split())


@given(any_text)
def test_nothing_invisible_is_left(text):
    assert not {unicodedata.category(character) for character in normalise(text).text} & {"Cc", "Cf", "Cs", "Co", "Cn"}


@given(any_text)
def test_runs_are_short_unless_they_are_digits(text):
    runs = ((character, len(list(group))) for character, group in groupby(normalise(text).text))
    assert all(length <= MAX_RUN or character.isdigit() for character, length in runs)


@given(any_text)
def test_the_map_to_the_original_is_monotone_and_in_range(text):
    normal = normalise(text)
    assert len(normal.starts) == len(normal.ends) == len(normal.text)
    assert list(normal.starts) == sorted(normal.starts)
    assert list(normal.ends) == sorted(normal.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(normal.starts, normal.ends, strict=True))


@given(any_text, st.data())
def test_a_part_came_from_its_original_span(text, data):
    normal = normalise(text)
    if not normal.text:
        return
    start = data.draw(st.integers(0, len(normal.text) - 1))
    end = data.draw(st.integers(start + 1, len(normal.text)))
    first, last = normal.original_span(start, end)
    assert normal.text[start:end].strip() in normalise(text[first:last]).text


@given(st.text("赌博博。…, aa11 ～!", max_size=12))
def test_a_text_that_is_in_normal_form_already_gets_no_other_map(text):
    normal, disguised = normalise(text), normalise(text + "\u200b")  # which takes the text apart
    assert normal == disguised


def test_a_span_covers_what_was_hidden_inside_it():
    text = "快来Ｇ\u200bａ\u0336mble吧"
    normal = normalise(text)
    start = normal.text.index("gamble")
    first, last = normal.original_span(start, start + len("gamble"))
    assert text[first:last] == "Ｇ\u200bａ\u0336mble"


def test_a_span_covers_the_run_that_was_cut():
    normal = normalise("哈哈哈哈哈哈好")
    assert normal.text == "哈哈哈好"
    assert normal.original_span(0, 3) == (0, 6)
    assert normal.original_span(3, 4) == (6, 7)


@given(shown, st.data())
def test_invisible_characters_change_nothing(text, data):
    hidden = "".join(character + data.draw(st.text(INVISIBLE, max_size=3)) for character in text)
    assert normalise(hidden).text == normalise(text).text


@given(chinese | st.text("0123456789", min_size=1), st.data())
def test_marks_laid_over_characters_change_nothing(text, data):
    overlaid = "".join(character + data.draw(st.text(MARKS, max_size=3)) for character in text)
    assert normalise(overlaid).text == normalise(text).text


def test_a_mark_over_chinese_punctuation_does_not_make_it_ascii():
    assert normalise("真的？\ufe0f好！\u0301").text == "真的？好！"


@given(plain | st.text("0123456789", min_size=1))
def test_full_width_and_upper_case_change_nothing(text):
    wide = "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)
    assert normalise(wide).text == normalise(wide.upper()).text == normalise(text.upper()).text == normalise(text).text


@given(plain, st.text("，！？：；（）～…", max_size=3))
def test_chinese_punctuation_survives(text, punctuation):
    assert normalise(text + punctuation).text.endswith(punctuation)


@given(st.text("0123456789", min_size=1), st.integers(1, 12))
def test_digits_keep_their_runs(digits, times):
    assert normalise(digits * times).text == digits * times


@given(st.text(INVISIBLE + MARKS + " \n\u3000\u2028\ud800\U000f0000", max_size=20))
def test_a_text_that_shows_nothing_is_empty(text):
    assert normalise(text).text == ""


def test_vowel_signs_are_letters():
    assert normalise("ภาษาไทย हिन्दी").text == "ภาษาไทย हिन्दी"


@given(any_text)
def test_an_id_names_the_normal_form(text):
    name = text_id(text)
    assert name == text_id(normalise(text).text)
    assert len(name) == 16
    assert int(name, 16) >= 0


def test_an_id_never_changes_between_releases():
    assert text_id("赌博") == text_id("赌\u200b博 ") == "655d7d6c966f9ac1"
