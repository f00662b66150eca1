"""Store weights in 8 bits, by every method that is fast and exact on any processor."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE


@dataclass(frozen=True, slots=True)
class Method:
    """Dynamic int8 (activations measured at run time), one weight scale a tensor or one an output channel.

    Weights use 7 of the 8 bits: on x86 without VNNI the 8-bit product of two neighbours overflows 16 bits and saturates, so that
    the same model would answer differently there.
    """

    name: str
    per_channel: bool


METHODS = (Method("int8-per-channel", per_channel=True), Method("int8-per-tensor", per_channel=False))
_OPERATORS = ("MatMul", "Attention", "EmbedLayerNormalization", "Gather")


def quantise(source: Path, target: Path, method: Method) -> None:
    """Quantise the fp32 graph in one folder into another; encoder and embeddings become int8.

    The head (the graph's `Gemm` nodes: pooler and classifier) stays in fp32: it is 0.3 % of the weights, and quantising it moved the
    logits 14 times as far as all other layers together.
    """
    target.mkdir(parents=True, exist_ok=True)
    quantize_dynamic(
        source / MODEL_FILE,
        target / MODEL_FILE,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=method.per_channel,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=list(_head_nodes(source / MODEL_FILE)),
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
    )
    for name in (TOKENIZER_FILE, CONFIG_FILE):
        copyfile(source / name, target / name)


def _head_nodes(path: Path) -> Iterator[str]:
    for node in onnx.load(path, load_external_data=False).graph.node:
        if node.op_type == "Gemm":
            yield from (node.name, f"{node.name}_MatMul")  # the quantiser rewrites Gemm as MatMul under the second name
