"""What runs a graph: ONNX Runtime's kernels for the processor, or an execution provider that another build of it brings."""

from enum import StrEnum
from pathlib import Path

import onnxruntime

from semantic_service.contract.bundle import BundleError


class BackendError(BundleError):
    """A backend that the installed ONNX Runtime does not have, or that can't start on this machine."""


class Backend(StrEnum):
    """Where a model runs; `auto` is the fastest that is here and gives the bundle's recorded probabilities."""

    CPU = "cpu"
    OPENVINO = "openvino"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    AUTO = "auto"


_PROVIDERS = {  # the first is the backend's own; what it can't run falls to the next
    Backend.CPU: ("CPUExecutionProvider",),
    Backend.OPENVINO: ("OpenVINOExecutionProvider", "CPUExecutionProvider"),
    Backend.CUDA: ("CUDAExecutionProvider", "CPUExecutionProvider"),
    Backend.TENSORRT: ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_PACKAGES = {Backend.OPENVINO: "onnxruntime-openvino", Backend.CUDA: "onnxruntime-gpu", Backend.TENSORRT: "onnxruntime-gpu"}
# Of 35 tokens of 384 numbers the fused kernel takes 84 us, Add and LayerNormalization 13. On a graphics card it is the other way round.
_SLOWER_FUSED = {Backend.CPU: ["SkipLayerNormFusion"]}


def backends_here() -> list[Backend]:
    """List the backends that the installed ONNX Runtime brings, the processor's first."""
    known = onnxruntime.get_available_providers()
    return [backend for backend, providers in _PROVIDERS.items() if providers[0] in known]


def open_session(model: Path, backend: Backend = Backend.CPU) -> onnxruntime.InferenceSession:
    """Open a graph for callers that bring a thread each.

    Raises:
        BackendError: the backend is not here.

    """
    if backend not in backends_here():
        raise BackendError(
            f"MODERATION_BACKEND={backend}: the installed onnxruntime has only {', '.join(backends_here())}; for {backend}: "
            f"python -m pip uninstall onnxruntime && python -m pip install {_PACKAGES[backend]}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    providers = list(_PROVIDERS[backend])
    session = onnxruntime.InferenceSession(model, options, providers=providers, disabled_optimizers=_SLOWER_FUSED.get(backend))
    if providers[0] not in session.get_providers():  # ONNX Runtime goes on without a provider whose driver is missing
        raise BackendError(
            f"MODERATION_BACKEND={backend}: {providers[0]} can't start here, the lines above say why: is its driver installed?"
        )
    return session
