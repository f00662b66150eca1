"""What the routes work with; it lives as long as the app."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from semantic_service.api.afterwards import Afterwards
from semantic_service.api.caller import Caller
from semantic_service.api.metrics import Metrics
from semantic_service.api.overload import Overload
from semantic_service.api.reviewing import Archive, Reviewing
from semantic_service.api.schemas import ClassifyRequest
from semantic_service.contract.text import NormalisedText, normalise
from semantic_service.contract.verdict import DEFAULT_SCENE, Policy
from semantic_service.engine.classifier import Score
from semantic_service.engine.lanes import Done
from semantic_service.engine.live import Live
from semantic_service.engine.moderator import EmptyTextError, Judgement, Moderator
from semantic_service.engine.scorer import Lookup, Scorer
from semantic_service.engine.shadow import Answered, Challenger, Shadow
from semantic_service.engine.workers import Workers

POLL_S = 2.0
PROMPT_CHARS = 1000  # are normalised within about a millisecond; other requests need not wait for more

Judged = tuple[ClassifyRequest, NormalisedText, Judgement | EmptyTextError]

log = logging.getLogger(__name__)


class Service:
    """The model in use, the threads that run it, the metrics that count it, and what watches it from behind the answers."""

    def __init__(
        self, live: Live, workers: Workers, challenger: Challenger | None = None, archive: Archive | None = None, *, remembered: int = 0
    ) -> None:
        """Score with `workers`, and remember that many scores."""
        self.live = live
        self.workers = workers
        self.afterwards = Afterwards()
        self.metrics = Metrics(live.bundle.manifest.model_version)
        self.overload = Overload(workers)
        self._scorer = Scorer(workers, remembered, self)
        self._shadow = None
        if challenger is not None:
            self.metrics.shadowed_by(challenger.moderator.model_version)
            self._shadow = Shadow(challenger, workers, self.metrics.compared)
        self.reviewing = None
        if archive is not None:
            self.reviewing = Reviewing(archive, self.metrics.kept)
            self.metrics.reviewed_by(self.reviewing.keeper.spill)

    async def judge(self, moderator: Moderator, posts: Sequence[ClassifyRequest], caller: Caller) -> list[Judgement | EmptyTextError]:
        """Judge posts, in order; a text with nothing in it gets its error in its place.

        Raises:
            QueueFullError: they do not fit into the queue, or would probably wait too long.
            DeadlineError, GoneError: the caller does not wait any more.

        """
        with self.overload.noted():
            normalised = self._normalised(posts, caller.within_s)
            is_prompt = len(posts) == 1 and len(posts[0].text) <= PROMPT_CHARS
            texts = await (normalised if is_prompt else caller.wait_for(normalised))
            with self._scorer.ask(moderator, [text for text in texts if text.text], caller.within_s) as asked:
                if asked.on_the_way:
                    await caller.wait_for(asked.landed)
            scores = iter(asked.result())
        judgements = [
            moderator.decide(text, next(scores), post.scene) if text.text else EmptyTextError()
            for text, post in zip(texts, posts, strict=True)
        ]
        self.afterwards.put(partial(self._follow_up, list(zip(posts, texts, judgements, strict=True)), moderator.policy, caller.request_id))
        return judgements

    def _follow_up(self, judged: Sequence[Judged], policy: Policy, request_id: str) -> None:
        self.metrics.batch_texts.observe(len(judged))
        name = request_id if len(judged) == 1 else None  # the id of a batch names none of its posts
        for post, text, judgement in judged:
            if isinstance(judgement, Judgement):
                self.metrics.judged(judgement, post.scene if post.scene in policy.scenes else DEFAULT_SCENE)
                if self._shadow is not None:
                    self._shadow.offer(Answered(post.text, text.id, request_id, post.data_id, judgement))
                if self.reviewing is not None:
                    self.reviewing.offer(post, name, judgement)

    def looked_up(self, lookup: Lookup, texts: int) -> None:
        """Count where the scores of some texts, each different, come from."""
        self.afterwards.put(partial(self.metrics.looked_up, lookup, texts))

    def scored(self, done: Done[Score]) -> None:
        """Note a run of the model."""
        self.afterwards.put(partial(self.metrics.scored, done))

    def exposition(self) -> bytes:
        """Write all metrics as Prometheus reads them."""
        self.afterwards.do()
        return self.metrics.exposition()

    async def _normalised(self, posts: Sequence[ClassifyRequest], within_s: float) -> list[NormalisedText]:
        texts = []
        for post in posts:
            if len(post.text) > PROMPT_CHARS:
                texts.append(await self.workers.run(partial(normalise, post.text), within_s))
            else:
                texts.append(normalise(post.text))
                if len(posts) > 1:
                    await asyncio.sleep(0)  # between a batch's texts others have their turn
        return texts

    def start(self) -> None:
        """Begin with what goes on behind the answers."""
        if self.reviewing is not None:
            self.reviewing.writer.start()

    def close(self) -> None:
        """Finish what waits for an answer, drop what is to be compared, write what is to be kept, and stop the threads."""
        self.workers.close()
        if self._shadow is not None:
            self._shadow.close()
        if self.reviewing is not None:
            self.reviewing.writer.close()

    async def watch(self) -> None:
        """Take up a changed policy file and another champion within seconds, for as long as the app runs."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await asyncio.to_thread(self.live.refresh_policy)
                await self.reload()
            except Exception:  # the poller's door: the next look may succeed
                log.exception("policy and model could not be looked at, the old ones stay")

    async def reload(self, *, again: bool = False) -> None:
        """Look at the registry now; `again` tries a champion that was refused once more."""
        outcome = await asyncio.to_thread(self.live.refresh_model, again=again)
        self.metrics.reloaded(outcome, self.live.moderator.model_version)
