"""Store weights in 8 bits, by methods that are fast and safe from overflow on any processor."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE

_OPERATORS = ("MatMul", "Attention", "EmbedLayerNormalization", "Gather")
_BLOCK = 128  # weights that share a scale
_INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy level


@dataclass(frozen=True, slots=True)
class Method:
    """Dynamic int8 (activations measured at run time) with one weight scale a tensor or one an output channel.

    Weights use 7 of the 8 bits: on x86 without VNNI the 8-bit product of two neighbours overflows 16 bits and saturates, so that
    the same model would answer differently there. `blockwise_down` gives the feed-forward's second matrix, whose inputs have
    outliers, a scale for each block of 128 weights and of activations (MatMulNBits) instead.
    """

    name: str
    per_channel: bool
    blockwise_down: bool = False


METHODS = (
    Method("int8-per-channel", per_channel=True),
    Method("int8-per-tensor", per_channel=False),
    Method("int8-blockwise-down", per_channel=True, blockwise_down=True),
)


def quantise(source: Path, target: Path, method: Method) -> None:
    """Quantise the fp32 graph in one folder into another; encoder and embeddings become int8.

    The head (the graph's `Gemm` nodes: pooler and classifier) stays in fp32: it is 0.3 % of the weights, and quantising it moved the
    logits 14 times as far as all other layers together.
    """
    target.mkdir(parents=True, exist_ok=True)
    model = onnx.load(source / MODEL_FILE)
    head = [name for node in model.graph.node if node.op_type == "Gemm" for name in (node.name, f"{node.name}_MatMul")]
    quantize_dynamic(
        _blockwise_down(model) if method.blockwise_down else model,
        target / MODEL_FILE,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=method.per_channel,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=head,  # the quantiser rewrites Gemm as MatMul under the second name
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
    )
    for name in (TOKENIZER_FILE, CONFIG_FILE):
        copyfile(source / name, target / name)


def _blockwise_down(model: onnx.ModelProto) -> onnx.ModelProto:
    config = DefaultWeightOnlyQuantConfig(
        block_size=_BLOCK, is_symmetric=True, accuracy_level=_INT8_ACTIVATIONS, op_types_to_quantize=("MatMul",), bits=8
    )
    quantiser = MatMulNBitsQuantizer(model, algo_config=config, nodes_to_exclude=list(_others(model.graph)))
    quantiser.process()
    quantised: onnx.ModelProto = quantiser.model.model
    return quantised


def _others(graph: onnx.GraphProto) -> Iterable[str]:
    """Name the MatMul nodes whose constant matrix does not make its input narrower."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul":
            shape = shapes.get(node.input[1], (0, 0))
            if shape[0] <= shape[-1]:
                yield node.name
