"""BentoML with its adaptive batching."""

import bentoml

from tests.bench.peers.same_model import SameModel, Verdict


@bentoml.service
class Moderation:
    """One worker; BentoML learns how long it may wait for a batch."""

    def __init__(self) -> None:
        self.model = SameModel()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def classify(self, texts: list[str]) -> list[Verdict]:
        """Judge a batch."""
        return self.model.judge(texts)
