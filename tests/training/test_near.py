"""Texts that are nearly alike."""

from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from training.dataset import Example
from training.near import leave_to_last, near_texts, twins

COMMON = "他们都是一群坏人"


def examples(texts):
    return [Example(text, Label.COMPLIANT, "f", line, source=source) for line, (source, text) in enumerate(texts)]


def left(*texts, held_out=()):
    """Say which of these (source, text) stay."""
    return [(example.source, example.text) for example in leave_to_last(examples(texts), examples(held_out), ("cold", "swsr"))]


def test_a_text_near_one_of_a_later_source_is_left_to_that():
    earlier, later = ("cold", "他们都是一群坏人，真的"), ("swsr", "他们都是一群坏人吗")
    other, own = ("cold", "今天天气很好，去公园走走"), ("", "他们都是一群坏人啊")
    assert left(earlier, later, other, own) == [later, other, own]
    assert left(earlier, other, own, held_out=[later]) == [other, own]
    assert left(later, other, held_out=[earlier]) == [later, other]


def test_texts_of_one_source_may_be_near_each_other():
    assert len(left(("cold", "他们都是一群坏人，真的"), ("cold", "他们都是一群坏人吗"))) == 2


def test_a_text_that_equals_one_of_a_later_source_is_left_to_that_however_short():
    assert left(("cold", "好"), ("swsr", "好"), ("", "好")) == [("swsr", "好"), ("", "好")]


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "cold", "swsr"]), st.text("好坏吗", min_size=1, max_size=5)),
        max_size=6,
        unique_by=lambda pair: pair[1],
    )
)
def test_texts_too_short_to_tell_are_near_none_but_their_equals(texts):
    assert left(*texts) == texts


def test_pairs_of_a_named_source_are_held_out_whole():
    train = examples([("cold", f"{COMMON}吗"), ("cold", "今天天气很好，去公园走走"), ("swsr", f"{COMMON}啊"), ("", f"{COMMON}呢")])
    held_out = examples([("cold", f"{COMMON}，真的"), ("", f"{COMMON}哦")])
    assert twins(train, held_out, ("cold", "swsr")) == {f"{COMMON}吗"}


@given(st.sets(st.text("好坏吗他们", max_size=9), max_size=6), st.sets(st.text("好坏吗他们", max_size=9), max_size=6))
def test_nearness_is_mutual(some, others):
    assert (near_texts(some, others) == set()) == (near_texts(others, some) == set())
    assert near_texts(some, some) == some
    assert some & others <= near_texts(some, others) <= some
