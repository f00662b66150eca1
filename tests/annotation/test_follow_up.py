import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.follow_up import FollowUp, Plan, follow_up
from annotation.settle import Overlap
from semantic_service.contract.answers import Purpose
from semantic_service.contract.records import Record
from semantic_service.contract.text import text_id
from tests.annotation.answers import BAD, GOOD, answer, at

BOTH = Overlap(share=1)
GOLD = [Record(f"金{number}", BAD, "gold", ("专家",), at(0)) for number in range(40)]


def ids(found):
    return {(text_id(item.text), item.purpose) for item in found}


def test_a_disputed_post_goes_to_an_adjudicator_once():
    answers = [answer("帖子", "甲", BAD), answer("帖子", "乙", GOOD), answer("另一", "甲", BAD)]
    found = follow_up(answers, [], [], Plan(0, [], BOTH))
    assert found == [FollowUp("帖子", Purpose.ADJUDICATION)]
    assert follow_up(answers, [], [], Plan(0, ids(found), BOTH)) == []


def test_a_suspected_label_error_is_asked_about_though_the_text_was_sent_for_another_reason():
    suspects = [Record("帖子", BAD, "train.jsonl:3", (), at(0))]
    found = follow_up([], [], suspects, Plan(0, {(text_id("帖子"), Purpose.UNCERTAIN)}))
    assert found == [FollowUp("帖子", Purpose.LABEL_ERROR)]


@given(st.lists(st.integers(0, 60), max_size=12), st.sampled_from([0, 0.05, 0.2]))
def test_gold_keeps_its_share_however_small_the_pushes(pushes, share):
    sent = set()
    for number, chosen in enumerate(pushes):
        found = follow_up([], GOLD, [], Plan(chosen, sent, gold_share=share))
        assert not ids(found) & sent
        assert {item.purpose for item in found} <= {Purpose.GOLD}
        sent |= ids(found) | {(f"{number}-{index}", Purpose.UNCERTAIN) for index in range(chosen)}
    gold = sum(purpose is Purpose.GOLD for _, purpose in sent)
    assert gold <= share * len(sent) + 1e-9
    assert gold == len(GOLD) or gold + 1 > share * (len(sent) + 1)


@pytest.mark.parametrize("share", [-0.1, 1])
def test_a_share_of_gold_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="gold_share must lie in"):
        Plan(1, [], gold_share=share)
