import os
import sys
import threading
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.json_lines import JsonLines
from semantic_service.contract.text import text_id
from semantic_service.contract.verdict import Policy
from semantic_service.engine.moderator import Moderator
from semantic_service.engine.shadow import MAX_WAITING, Answered, Challenger, Comparison, Shadow
from semantic_service.engine.workers import LOWEST_PRIORITY, Workers
from tests.deadline import PATIENCE_S, until
from tests.engine.jobs import submit
from tests.shadowed import build_challenger, lines

AGREED, DISPUTED = "今天天气真好", "有点可疑的消息"


@pytest.fixture(scope="module")
def opinion(tmp_path_factory):
    """A challenger that takes what is doubtful for compliant."""
    bundle = build_challenger(tmp_path_factory.mktemp("challenger") / "tiny-2")
    return Challenger.load(bundle, share=1.0, file=JsonLines(bundle.path / "nowhere"))


@dataclass
class Counted:
    """A shadow under test, and its counts."""

    shadow: Shadow
    outcomes: list
    live: Workers
    file: JsonLines

    def offer(self, judgement, text, **more):
        self.shadow.offer(Answered(text, text_id(text), **({"request_id": "r1", "data_id": None} | more), judgement=judgement))

    def come(self, *wanted):
        until(lambda: len(self.outcomes) >= len(wanted))
        assert self.outcomes == list(wanted)


@pytest.fixture
def start(opinion, tmp_path):
    started = []

    def with_(**changes):
        outcomes, live, file = [], Workers(threads=1, bound=8), JsonLines(tmp_path / "shadow.jsonl")
        challenger = replace(opinion, **({"file": file} | changes))
        started.append(Counted(Shadow(challenger, live, outcomes.append), outcomes, live, challenger.file))
        return started[-1]

    yield with_
    for counted in started:
        counted.live.close()
        counted.shadow.close()


def test_agreement_is_counted_and_not_kept(start, moderator):
    counted = start()
    counted.offer(moderator.judge(AGREED), AGREED)
    counted.come(Comparison.AGREE)
    assert not counted.file.path.exists()


def test_a_disagreement_is_kept_with_both_opinions(start, moderator):
    counted = start()
    counted.offer(moderator.judge(DISPUTED, "kids"), DISPUTED, request_id="r7", data_id="post-42")
    counted.come(Comparison.DISAGREE)
    [row] = lines(counted.file.path)
    assert (row["request_id"], row["data_id"], row["scene"], row["text"]) == ("r7", "post-42", "kids", DISPUTED)
    assert (row["champion"]["model_version"], row["champion"]["label"]) == ("tiny-1", "suspicious")
    assert (row["challenger"]["model_version"], row["challenger"]["label"]) == ("tiny-2", "compliant")
    for opinion in (row["champion"], row["challenger"]):
        assert sum(opinion["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(opinion["probabilities"], key=opinion["probabilities"].get) == opinion["label"]
    assert row["time"].endswith("+00:00")


def test_what_a_list_of_terms_decided_is_not_compared(start, classifier):
    counted = start()
    judge = Moderator(classifier, "tiny-1", Policy.parse('[lexicon]\ndeny = ["消息"]\n'), 0.6).judge
    counted.offer(judge(DISPUTED), DISPUTED)
    counted.offer(judge(AGREED), AGREED)
    counted.come(Comparison.AGREE)


def test_a_challenger_that_has_become_the_champion_is_not_compared_with_itself(start, opinion, moderator):
    counted = start()
    counted.offer(opinion.moderator.judge(AGREED), AGREED)
    counted.offer(moderator.judge(AGREED), AGREED)
    counted.come(Comparison.AGREE)


@given(text=st.text(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_larger_share_sees_what_a_smaller_one_saw(opinion, text, shares):
    smaller, larger = (replace(opinion, share=share) for share in sorted(shares))
    assert larger.sees(text_id(text)) >= smaller.sees(text_id(text))
    assert replace(opinion, share=1.0).sees(text_id(text))
    assert not replace(opinion, share=0.0).sees(text_id(text))


def test_the_share_of_texts_that_is_seen_is_the_one_asked_for(opinion):
    tenth = replace(opinion, share=0.1)
    assert sum(tenth.sees(text_id(f"第{number}楼")) for number in range(5000)) == pytest.approx(500, abs=100)


def test_a_text_in_disguise_is_in_the_sample_with_the_plain_one(opinion):
    half = replace(opinion, share=0.5)
    for number in range(50):
        assert half.sees(text_id(f"第{number}楼 vip")) == half.sees(text_id(f"第{number}楼 ｖｉｐ"))


class BusyFor:
    """Live workers that are found busy a few times."""

    def __init__(self, looks, outcomes):
        self.looks, self.outcomes, self.seen = looks, outcomes, []

    @property
    def is_idle(self):
        self.seen.append(list(self.outcomes))
        return len(self.seen) > self.looks


def test_nothing_is_compared_while_a_live_text_waits_or_runs(opinion, moderator):
    outcomes = []
    live = BusyFor(3, outcomes)
    shadow = Shadow(opinion, live, outcomes.append)
    shadow.offer(Answered(AGREED, text_id(AGREED), "r1", None, moderator.judge(AGREED)))
    until(lambda: outcomes)
    shadow.close()
    assert (live.seen, outcomes) == ([[]] * 4, [Comparison.AGREE])


def test_workers_are_idle_when_nothing_waits_or_runs():
    workers, gate = Workers(threads=1, bound=8), threading.Event()
    assert workers.is_idle
    jobs = submit(workers, [lambda: gate.wait(PATIENCE_S)] * 2)
    assert not workers.is_idle
    gate.set()
    assert all(job.result() for job in jobs)
    until(lambda: workers.is_idle)
    workers.close()


def test_what_does_not_fit_is_dropped_at_once(start, moderator):
    counted, gate = start(), threading.Event()
    submit(counted.live, [lambda: gate.wait(PATIENCE_S)])
    judgement = moderator.judge(AGREED)
    for _ in range(MAX_WAITING + 3):
        counted.offer(judgement, AGREED)
    assert counted.outcomes == [Comparison.DROPPED] * 3
    counted.shadow.close()
    assert len(counted.outcomes) == MAX_WAITING + 3
    gate.set()


def test_closing_drops_what_waits(start, moderator):
    counted, gate = start(), threading.Event()
    submit(counted.live, [lambda: gate.wait(PATIENCE_S)])
    for _ in range(20):
        counted.offer(moderator.judge(AGREED), AGREED)
    counted.shadow.close()
    assert counted.outcomes == [Comparison.DROPPED] * 20
    gate.set()


def test_a_file_that_can_not_be_written_is_counted_and_said_once(start, moderator, tmp_path, caplog):
    counted = start(file=JsonLines(tmp_path))
    for text in (DISPUTED, AGREED, DISPUTED):
        counted.offer(moderator.judge(text), text)
    counted.come(Comparison.ERROR, Comparison.AGREE, Comparison.ERROR)
    assert caplog.text.count("a shadow comparison failed") == 1
    assert f"{tmp_path}: Is a directory" in caplog.text
    assert DISPUTED not in caplog.text


def test_a_failure_that_comes_back_is_said_again(start, moderator, tmp_path, caplog):
    counted = start(file=JsonLines(tmp_path / "shadow.jsonl"))
    for number in range(1, 4):
        if number == 2:
            (tmp_path / "shadow.jsonl").rmdir()
        else:
            (tmp_path / "shadow.jsonl").unlink(missing_ok=True)
            (tmp_path / "shadow.jsonl").mkdir()
        counted.offer(moderator.judge(DISPUTED), DISPUTED)
        until(lambda number=number: len(counted.outcomes) == number)
    assert counted.outcomes == [Comparison.ERROR, Comparison.DISAGREE, Comparison.ERROR]
    assert caplog.text.count("a shadow comparison failed") == 2


class Broken:
    """A model that fails with the text on its lips."""

    def score_all(self, texts):
        raise RuntimeError(*texts)


def test_a_challenger_that_fails_is_counted_and_never_quotes_the_text(start, moderator, caplog):
    counted = start(moderator=Moderator(Broken(), "tiny-2", Policy(), 0.0))
    for _ in range(2):
        counted.offer(moderator.judge(AGREED), AGREED)
    counted.come(Comparison.ERROR, Comparison.ERROR)
    assert caplog.text.count("answers are not affected: RuntimeError") == 1
    assert AGREED not in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_live_texts_come_behind_the_event_loop_and_the_challengers_behind_them():
    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    background, live = Workers(threads=1, bound=1, niceness=LOWEST_PRIORITY), Workers(threads=1, bound=1)
    assert submit(background, [priority])[0].result().answer == LOWEST_PRIORITY
    assert priority() < submit(live, [priority])[0].result().answer < LOWEST_PRIORITY
    background.close()
    live.close()
