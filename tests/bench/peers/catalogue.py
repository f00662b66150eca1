"""Whom we are compared with: how each is started and asked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.servers import PROJECT, Service

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to measure. Its environment is named as the folder here that holds its requirements."""

    name: str
    folder: str
    command: str  # `{bin}` is the environment's folder of programs, `{here}` this one, `{model}` the bundle's, `{scratch}` one to write in
    path: str = "/classify"
    body: Callable[[str], object] = lambda text: {"text": text}
    label: Callable[[object], str] = lambda answer: answer["label"]  # type: ignore[index]
    batches: bool = False

    @property
    def requirements(self) -> Path:
        """The file with its pins."""
        return HERE / self.folder / "requirements.txt"

    def service(self, environment: Path, model: Path, scratch: Path) -> Service:
        """Say how to start it from its environment, and how to ask it."""
        places = {"bin": environment / "bin", "here": HERE, "model": model.resolve(), "scratch": scratch, "port": "{port}"}
        variables = {
            "BENCH_MODEL": str(model.resolve()),
            "PYTHONPATH": str(PROJECT),
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_HOST": "127.0.0.1",
            "BENTOML_DO_NOT_TRACK": "true",
            "DO_NOT_TRACK": "1",  # infinity
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_HUB_OFFLINE": "1",
        }
        return Service(
            self.name, tuple(part.format(**places) for part in self.command.split()), self.path, self.body, self.label, variables
        )


def _of_infinity(answer: object) -> str:
    return str(max(answer["data"][0], key=lambda each: each["score"])["label"])  # type: ignore[index]


_UVICORN = "{bin}/python -m uvicorn --port {port}"
_MOSEC = "--address 127.0.0.1 --port {port} --log-level warning"
_INFINITY = "--model-id {scratch}/infinity --served-model-name moderation --engine optimum --device cpu --no-model-warmup"

NAIVE = Peer(
    "FastAPI + transformers pipeline",
    "transformers",
    f"{_UVICORN} tests.bench.peers.transformers.server:app",
    label=lambda answer: str(answer[0]["label"]),  # type: ignore[index]
)
TUNED = Peer(
    "mosec tuned: a process a core, 1 thread", "mosec", f"{{bin}}/python -m tests.bench.peers.mosec.tuned {_MOSEC}", path="/inference"
)
PEERS = (
    NAIVE,
    Peer(
        "infinity-emb, batched",
        "infinity",
        f"{{bin}}/python {{here}}/infinity/folder.py {{model}} {{scratch}}/infinity v2 {_INFINITY} --host 127.0.0.1 --port {{port}}",
        body=lambda text: {"model": "moderation", "input": [text]},
        label=_of_infinity,
        batches=True,
    ),
    Peer("LitServe, batched", "litserve", "{bin}/python -m tests.bench.peers.litserve.server {port}", batches=True),
    Peer(
        "BentoML, batched",
        "bentoml",
        "{bin}/bentoml serve tests.bench.peers.bentoml.server:Moderation --host 127.0.0.1 --port {port}",
        body=lambda text: {"texts": [text]},
        label=lambda answer: str(answer[0]["label"]),  # type: ignore[index]
        batches=True,
    ),
    Peer("mosec, batched", "mosec", f"{{bin}}/python -m tests.bench.peers.mosec.batched {_MOSEC}", path="/inference", batches=True),
    Peer(
        "MLServer, batched",
        "mlserver",
        "{bin}/mlserver start {here}/mlserver",
        path="/v2/models/moderation/infer",
        body=lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
        label=lambda answer: str(answer["outputs"][0]["data"][0]),  # type: ignore[index]
        batches=True,
    ),
    Peer("Ray Serve, batched", "ray", "{bin}/python -m tests.bench.peers.ray.server {port}", batches=True),
    TUNED,
    Peer("FastAPI `def` + ONNX Runtime, 1 thread", "fastapi", f"{_UVICORN} --no-access-log tests.bench.peers.fastapi.server:app"),
)
