"""mosec tuned for a processor: a process a core with one thread each, no batching."""

import os

from mosec import Server, Worker

from tests.bench.peers.same_model import SameModel, Verdict


class Judge(Worker):
    """One process of several."""

    def __init__(self) -> None:
        self.model = SameModel(threads=1)

    def forward(self, data: dict[str, str]) -> Verdict:
        """Judge one text."""
        return self.model.judge([data["text"]])[0]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Judge, num=os.cpu_count() or 1)
    server.run()
