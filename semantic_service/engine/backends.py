"""What runs a graph: ONNX Runtime's kernels for the processor, or an execution provider that another build of it brings."""

from enum import StrEnum
from functools import cache
from pathlib import Path

import onnxruntime
from onnxruntime import InferenceSession

from semantic_service.contract.bundle import ARRANGED_FILE, MODEL_FILE, Bundle, BundleError


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
_AS_REQUESTED = 1  # ONNX Runtime's kSameAsRequested: an arena's next piece is as large as what is asked for, not twice the last one
# Of 35 tokens of 384 numbers the fused kernel takes 84 us, Add and LayerNormalization 13. On a graphics card it is the other way round.
SLOWER_FUSED = {Backend.CPU: ["SkipLayerNormFusion"]}


def backends_here() -> list[Backend]:
    """List the backends that the installed ONNX Runtime brings, the processor's first."""
    known = onnxruntime.get_available_providers()
    return [backend for backend, providers in _PROVIDERS.items() if providers[0] in known]


def open_bundle(bundle: Bundle, backend: Backend) -> InferenceSession:
    """Open a bundle's graph for callers that bring a thread each.

    Raises:
        BackendError: the backend is not here.

    """
    if backend is not Backend.CPU or ARRANGED_FILE not in bundle.names:
        return open_session(bundle.file(MODEL_FILE), backend)
    return open_arranged(bundle.file(ARRANGED_FILE))


def open_session(model: Path, backend: Backend = Backend.CPU) -> InferenceSession:
    """Open a graph for callers that bring a thread each.

    Raises:
        BackendError: the backend is not here.

    """
    if backend not in backends_here():
        raise BackendError(
            f"MODERATION_BACKEND={backend}: the installed onnxruntime has only {', '.join(backends_here())}; for {backend}: "
            f"python -m pip uninstall onnxruntime && python -m pip install {_PACKAGES[backend]}"
        )
    providers = list(_PROVIDERS[backend])
    session = InferenceSession(model, _options(), providers=providers, disabled_optimizers=SLOWER_FUSED.get(backend))
    if providers[0] not in session.get_providers():  # ONNX Runtime goes on without a provider whose driver is missing
        raise BackendError(
            f"MODERATION_BACKEND={backend}: {providers[0]} can't start here, the lines above say why: is its driver installed?"
        )
    return session


def open_arranged(graph: Path) -> InferenceSession:
    """Open a graph that was arranged for processors: it is to run as it is written, operation by operation."""
    _share_arena()
    options = _options()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False  # it would plan each branch's memory by itself
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED  # else one window would be run behind the other
    return InferenceSession(graph, options, providers=list(_PROVIDERS[Backend.CPU]))


@cache
def _share_arena() -> None:
    """Give the graphs of this process one arena for what they reckon with, which grows by no more than is asked of it."""
    memory = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"arena_extend_strategy": _AS_REQUESTED}))


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return options
