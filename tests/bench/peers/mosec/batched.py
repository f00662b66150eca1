"""mosec with its dynamic batching."""

from mosec import Server, Worker

from tests.bench.peers.same_model import SameModel, Verdict


class Judge(Worker):
    """One process; requests that come within 10 ms go together."""

    def __init__(self) -> None:
        self.model = SameModel()

    def forward(self, data: list[dict[str, str]]) -> list[Verdict]:
        """Judge a batch."""
        return self.model.judge([post["text"] for post in data])


if __name__ == "__main__":
    server = Server()
    server.append_worker(Judge, max_batch_size=16, max_wait_time=10)
    server.run()
