import random

from hypothesis import given
from hypothesis import strategies as st

from annotation.duplicates import SIMILARITY, near_duplicates, shingles
from tests.strategies import any_text

SPAM = "注册即送八十八元彩金，百家乐、老虎机应有尽有，提现秒到账，加微"


def test_a_flood_is_one_group_whatever_numbers_marks_and_faces_it_varies():
    draw = random.Random(7)
    flood = [f"{SPAM} {draw.randrange(10**6)} {'！' * draw.randrange(3)}{draw.choice('😀🔥💰')}" for _ in range(500)]
    assert set(near_duplicates(flood)) == {0}


def test_a_letter_changed_here_and_there_makes_no_other_text():
    assert near_duplicates([SPAM, SPAM.replace("提现", "提款")]) == [0, 0]


def test_different_posts_stay_apart():
    texts = ["周末和朋友去爬山，山顶的日出特别美", "求推荐适合学生党的轻薄本，预算五千左右", SPAM, "好", "坏", "123", "456", ""]
    assert near_duplicates(texts) == list(range(len(texts)))


def test_disguises_do_not_hide_a_copy():
    assert near_duplicates(["加微信领彩金", "加 微 信 领 彩 金".replace(" ", "\u200b"), "加微信领彩金！！！"]) == [0, 0, 0]


@given(st.lists(any_text, max_size=12))
def test_each_text_leads_to_an_earlier_one_that_leads_itself_and_is_near(texts):
    leaders = near_duplicates(texts)
    for number, leader in enumerate(leaders):
        assert leader <= number
        assert leaders[leader] == leader
        one, other = shingles(texts[number]), shingles(texts[leader])
        assert len(one & other) >= SIMILARITY * len(one | other)


@given(st.lists(any_text, max_size=8))
def test_the_same_text_always_has_the_same_leader(texts):
    leaders = near_duplicates(texts + texts)
    assert leaders[: len(texts)] == leaders[len(texts) :]
