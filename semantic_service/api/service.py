"""What the routes work with; it lives as long as the app."""

import asyncio
import logging
from concurrent.futures import Future
from functools import partial

from semantic_service.api.metrics import Metrics
from semantic_service.api.reviewing import Archive, Reviewing
from semantic_service.api.schemas import ClassifyRequest
from semantic_service.contract.verdict import DEFAULT_SCENE
from semantic_service.engine.live import Live
from semantic_service.engine.moderator import EmptyTextError, Judgement, Moderator
from semantic_service.engine.shadow import Answered, Challenger, Shadow
from semantic_service.engine.workers import Done, Workers

POLL_S = 2.0

log = logging.getLogger(__name__)


class Service:
    """The model in use, the threads that run it, the metrics that count it, and what watches it from behind the answers."""

    def __init__(self, live: Live, workers: Workers, challenger: Challenger | None = None, archive: Archive | None = None) -> None:
        self.live = live
        self.workers = workers
        self.metrics = Metrics(live.bundle.manifest.model_version)
        self._shadow = None
        if challenger is not None:
            self.metrics.shadowed_by(challenger.moderator.model_version)
            self._shadow = Shadow(challenger, workers, self.metrics.compared)
        self.reviewing = None
        if archive is not None:
            self.reviewing = Reviewing(archive, self.metrics.kept)
            self.metrics.reviewed_by(self.reviewing.keeper.spill)

    async def judge(self, moderator: Moderator, posts: list[ClassifyRequest], request_id: str) -> list[Judgement | EmptyTextError]:
        """Judge posts off the event loop, in order; a text with nothing in it gets its error in its place.

        Raises:
            QueueFullError: they do not fit into the queue.

        """
        futures = self.workers.submit([partial(moderator.judge, post.text, post.scene) for post in posts])
        self.metrics.batch_texts.observe(len(posts))
        answers = [asyncio.wrap_future(future) for future in futures]
        name = request_id if len(posts) == 1 else None  # the id of a batch names none of its posts
        for post, future in zip(posts, futures, strict=True):
            future.add_done_callback(partial(self._offer, post, request_id, name))  # called after the one that wrap_future has added
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        return [self._counted(moderator, outcome) for outcome in outcomes]

    def _offer(self, post: ClassifyRequest, request_id: str, name: str | None, future: Future[Done[Judgement]]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        judgement = future.result().answer
        if self._shadow is not None:
            self._shadow.offer(Answered(post.text, request_id, post.data_id, judgement))
        if self.reviewing is not None:
            self.reviewing.offer(post, name, judgement)

    def _counted(self, moderator: Moderator, outcome: Done[Judgement] | BaseException) -> Judgement | EmptyTextError:
        if isinstance(outcome, EmptyTextError):
            return outcome
        if isinstance(outcome, BaseException):
            raise outcome
        scene = outcome.answer.scene
        self.metrics.judged(outcome, scene if scene in moderator.policy.scenes else DEFAULT_SCENE)
        return outcome.answer

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
