import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from semantic_service.contract.labels import LABEL_NAMES, Label, UnknownLabelError

ACCEPTED = {
    Label.COMPLIANT: ("compliant", "合规", "normal", "pass", "safe", "正常", "通过", "0", 0),
    Label.SUSPICIOUS: ("suspicious", "疑似", "suspect", "review", "可疑", "嫌疑", "1", 1),
    Label.VIOLATION: ("violation", "违规", "block", "reject", "unsafe", "不通过", "2", 2),
}
SPELLINGS = [(label, spelling) for label, spellings in ACCEPTED.items() for spelling in spellings]
KNOWN = {str(spelling) for _, spelling in SPELLINGS}


def test_the_order_is_the_order_of_severity():
    assert LABEL_NAMES == ("compliant", "suspicious", "violation")
    assert [int(label) for label in Label] == [0, 1, 2]


@pytest.mark.parametrize(("label", "spelling"), SPELLINGS)
def test_every_documented_spelling_is_read(label, spelling):
    assert Label.parse(spelling) is label


@given(st.sampled_from(SPELLINGS), st.sampled_from((str.upper, str.title, str.lower)), st.text(" \t\n", max_size=3))
def test_case_and_white_space_around_do_not_matter(known, change_case, space):
    label, spelling = known
    assert Label.parse(space + change_case(str(spelling)) + space) is label


@pytest.mark.parametrize("label", list(Label))
def test_a_label_is_read_back_from_its_own_names(label):
    assert Label.parse(label) is Label.parse(label.english) is Label.parse(label.chinese) is label


@given(st.text() | st.integers() | st.floats() | st.none() | st.lists(st.text()))
def test_anything_else_is_refused_and_never_defaults(value):
    assume(str(value).strip().lower() not in KNOWN)
    with pytest.raises(UnknownLabelError) as refusal:
        Label.parse(value)
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_no_label(value):
    with pytest.raises(UnknownLabelError):
        Label.parse(value)


def test_a_refusal_lists_what_is_accepted():
    with pytest.raises(UnknownLabelError, match="unknown label '垃圾'") as refusal:
        Label.parse("垃圾")
    assert all(spelling in str(refusal.value) for spelling in KNOWN)
