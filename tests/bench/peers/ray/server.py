"""Ray Serve with its request batching."""

import os
import sys

import ray
from ray import serve
from starlette.requests import Request

from tests.bench.peers.same_model import SameModel, Verdict


@serve.deployment(max_ongoing_requests=256)
class Moderation:
    """One replica; requests that come within 10 ms go together."""

    def __init__(self) -> None:
        self.model = SameModel(threads=os.cpu_count() or 1)  # Ray would leave one thread

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.01)
    async def judge(self, texts: list[str]) -> list[Verdict]:
        """Judge a batch."""
        return self.model.judge(texts)

    async def __call__(self, request: Request) -> Verdict:
        """Judge one text."""
        return await self.judge((await request.json())["text"])


if __name__ == "__main__":
    ray.init(address="local", include_dashboard=False, log_to_driver=False)  # never a cluster that happens to run here
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Moderation.bind(), route_prefix="/classify", blocking=True)
