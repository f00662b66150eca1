"""MLServer with its adaptive batching, set in model-settings.json."""

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from tests.bench.peers.same_model import SameModel


class Moderation(MLModel):
    """One worker process, as MLServer does by default."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = SameModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Judge a batch; MLServer has joined its requests' inputs."""
        texts = StringCodec.decode_input(payload.inputs[0])
        labels = [verdict["label"] for verdict in self.model.judge(texts)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("label", labels)])
