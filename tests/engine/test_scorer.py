import asyncio
import threading
from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.text import normalise
from semantic_service.contract.verdict import Policy
from semantic_service.engine.moderator import Moderator
from semantic_service.engine.scorer import Lookup, Scorer
from semantic_service.engine.workers import QueueFullError, Workers
from tests.deadline import PATIENCE_S
from tests.tiny_model import DOUBTFUL, VIOLATING

FOREVER = float("inf")
POLICY = Policy.parse('[lexicon]\ndeny = ["加微信"]\n[scenes.kids]\nreview_at = 0.05\n')


class Counted:
    """Counts where scores come from, and runs."""

    def __init__(self):
        self.lookups, self.runs = Counter(), 0

    def looked_up(self, lookup, texts):
        self.lookups[lookup] += texts

    def scored(self, done):
        assert done.answer.tokens > 0
        self.runs += 1


class Gated:
    """A model that notes what it scores, and scores once the gate is open."""

    def __init__(self, moderator, version="tiny-1"):
        self._moderator = moderator
        self._version = version
        self.texts, self.gate, self.error = [], threading.Event(), None

    def key(self, text):
        return f"{self._version}{text.text}".encode()

    def prepare(self, texts):
        return partial(self.score_all, texts)

    def score_all(self, texts):
        assert self.gate.wait(PATIENCE_S)
        self.texts += [text.text for text in texts]
        if self.error is not None:
            raise self.error
        return self._moderator.score_all(texts)


@pytest.fixture
def gated(moderator):
    fake = Gated(moderator)
    yield fake
    fake.gate.set()


@pytest.fixture
def workers():
    made = Workers(threads=1, bound=64)
    yield made
    made.close()


@pytest.fixture
def counted():
    return Counted()


def ask(scorer, moderator, *texts, within_s=FOREVER):
    return asyncio.ensure_future(score(scorer, moderator, [normalise(text) for text in texts], within_s))


async def score(scorer, moderator, texts, within_s=FOREVER):
    with scorer.ask(moderator, texts, within_s) as asked:
        await asked.landed
    return asked.result()


async def begun():
    """Let what has been asked for reach the queue."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_score_is_remembered_and_answers_the_same_text_in_disguise(workers, counted, gated):
    gated.gate.set()

    async def run():
        scorer = Scorer(workers, 8, counted)
        return [(await ask(scorer, gated, text))[0] for text in ("来赌 vip", "来赌　ＶＩＰ", "来赌 vip")]

    first, second, third = asyncio.run(run())
    assert first is second is third
    assert gated.texts == ["来赌 vip"]
    assert counted.lookups == {Lookup.HIT: 2, Lookup.MISS: 1}


def test_the_least_recently_used_score_is_forgotten_first(workers, counted, gated):
    gated.gate.set()

    async def run():
        scorer = Scorer(workers, 2, counted)
        for text in "甲乙甲丙甲乙":
            await ask(scorer, gated, text)

    asyncio.run(run())
    assert gated.texts == ["甲", "乙", "丙", "乙"]


def test_nothing_is_remembered_where_the_size_is_0(workers, counted, gated):
    gated.gate.set()

    async def run():
        scorer = Scorer(workers, 0, counted)
        for _ in range(3):
            await ask(scorer, gated, "甲")

    asyncio.run(run())
    assert gated.texts == ["甲"] * 3


def test_another_models_score_is_no_hit(workers, counted, gated, moderator):
    other = Gated(moderator, "tiny-2")
    gated.gate.set()
    other.gate.set()

    async def run():
        scorer = Scorer(workers, 8, counted)
        for model in (gated, other):
            await ask(scorer, model, "甲")

    asyncio.run(run())
    assert (gated.texts, other.texts) == (["甲"], ["甲"])


def test_a_text_that_many_ask_for_at_a_time_is_scored_once(workers, counted, gated):
    async def run():
        scorer = Scorer(workers, 0, counted)
        asked = [ask(scorer, gated, "甲") for _ in range(20)]
        await begun()
        gated.gate.set()
        return await asyncio.gather(*asked)

    assert len({id(score) for [score] in asyncio.run(run())}) == 1
    assert gated.texts == ["甲"]
    assert (counted.lookups[Lookup.JOINED], counted.runs) == (19, 1)


def test_a_batch_scores_each_different_text_once_and_keeps_the_order(workers, counted, gated, moderator):
    gated.gate.set()
    texts = ["今天", "来赌", "今天", "来赌", "疑"]
    scores = asyncio.run(_once(Scorer(workers, 8, counted), gated, texts))
    assert sorted(gated.texts) == sorted(set(texts))
    alone = [moderator.score_all([normalise(text)])[0] for text in texts]
    assert [score.probabilities.tolist() for score in scores] == [score.probabilities.tolist() for score in alone]


async def _once(scorer, moderator, texts):
    return await ask(scorer, moderator, *texts)


def test_a_single_post_does_not_wait_for_a_batchs_turn(workers, counted, gated):
    async def run():
        scorer = Scorer(workers, 8, counted)
        gated.gate.set()
        await ask(scorer, gated, "丁")  # while single posts come, a batch's texts run one by one
        gated.gate.clear()
        batch = ask(scorer, gated, "甲", "乙", "丙")
        await begun()
        single = ask(scorer, gated, "丙")
        await begun()
        gated.gate.set()
        await asyncio.gather(batch, single)

    asyncio.run(run())
    assert gated.texts.index("丙") <= 2  # behind 丁 and 甲


def test_who_gives_up_spoils_nothing_for_who_waits_on(workers, counted, gated):
    async def run():
        scorer = Scorer(workers, 8, counted)
        first, second = (ask(scorer, gated, "甲") for _ in range(2))
        await begun()
        first.cancel()
        await begun()
        gated.gate.set()
        return await second

    assert len(asyncio.run(run())) == 1
    assert gated.texts == ["甲"]


def test_what_nobody_waits_for_any_more_is_not_scored_and_can_be_asked_for_again(workers, counted, gated):
    async def run():
        scorer = Scorer(workers, 8, counted)
        running = ask(scorer, gated, "今")
        given_up = [ask(scorer, gated, "甲") for _ in range(2)] + [ask(scorer, gated, "乙", "丙")]
        await begun()
        for asked in given_up:
            asked.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        again = ask(scorer, gated, "丙")
        await begun()
        gated.gate.set()
        await asyncio.gather(running, again)

    asyncio.run(run())
    assert gated.texts == ["今", "丙"]
    assert workers.is_idle


def test_a_failure_reaches_everybody_who_waits_and_is_not_remembered(workers, counted, gated):
    gated.error = LookupError("no such model")

    async def run():
        scorer = Scorer(workers, 8, counted)
        asked = [ask(scorer, gated, "甲") for _ in range(3)]
        await begun()
        gated.gate.set()
        failed = await asyncio.gather(*asked, return_exceptions=True)
        gated.error = None
        return failed, await ask(scorer, gated, "甲")

    failed, [score] = asyncio.run(run())
    assert [type(error) for error in failed] == [LookupError] * 3
    assert score.tokens == 3


def test_what_does_not_fit_is_refused_and_what_is_remembered_is_answered_even_so(counted, gated):
    workers = Workers(threads=1, bound=1)

    async def run():
        scorer = Scorer(workers, 8, counted)
        gated.gate.set()
        await ask(scorer, gated, "甲")
        gated.gate.clear()
        running = ask(scorer, gated, "乙")
        await begun()
        with pytest.raises(QueueFullError):
            await ask(scorer, gated, "丙")
        known = await ask(scorer, gated, "甲")
        gated.gate.set()
        await running
        return known

    assert len(asyncio.run(run())) == 1
    workers.close()


POSTS = st.lists(
    st.text(alphabet=[*VIOLATING, *DOUBTFUL, *"今天好加微信", "\u200b", "Ａ", "a", " "], min_size=1, max_size=6), min_size=1, max_size=12
)


@given(posts=POSTS, size=st.integers(0, 4), scenes=st.lists(st.sampled_from(["default", "kids"]), min_size=12, max_size=12))
def test_a_verdict_never_depends_on_what_is_remembered_or_asked_together(classifier, posts, size, scenes):
    moderators = [Moderator(classifier, "tiny-1", policy, 0.6) for policy in (POLICY, Policy())]
    workers = Workers(threads=2, bound=64)

    async def run():
        scorer = Scorer(workers, size, Counted())
        for moderator in moderators:  # the second is what a changed policy makes
            texts = [text for post in posts if (text := normalise(post)).text]
            together = await score(scorer, moderator, texts)
            apart = await asyncio.gather(*(score(scorer, moderator, [text]) for text in texts))
            for text, scene, one, [other] in zip(texts, scenes, together, apart, strict=False):
                alone = moderator.decide(text, moderator.score_all([text])[0], scene)
                assert moderator.decide(text, one, scene) == moderator.decide(text, other, scene) == alone

    asyncio.run(run())
    workers.close()
