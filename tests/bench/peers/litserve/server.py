"""LitServe with its batching."""

import sys

import litserve

from tests.bench.peers.same_model import SameModel, Verdict


class Moderation(litserve.LitAPI):
    """One worker; requests that come within 10 ms go together."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = SameModel()

    def decode_request(self, request: dict[str, str]) -> str:
        """Take the text."""
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        """Keep the texts a list."""
        return list(inputs)

    def predict(self, x: list[str]) -> list[Verdict]:
        """Judge a batch."""
        return self.model.judge(x)

    def unbatch(self, output: list[Verdict]) -> list[Verdict]:
        """Keep the verdicts a list."""
        return output

    def encode_response(self, output: Verdict) -> Verdict:
        """Answer with the verdict."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Moderation(max_batch_size=16, batch_timeout=0.01, api_path="/classify"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
