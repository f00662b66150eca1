"""Store weights in 8 bits, by methods that are fast and safe from overflow on any processor."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from training.ngrams import PREFIX

INT8_MAX = 127
_OPERATORS = ("MatMul", "Attention", "EmbedLayerNormalization", "Gather")


@dataclass(frozen=True, slots=True)
class Method:
    """Dynamic int8 (activations measured at run time) with one weight scale a tensor or one an output channel.

    Weights use 7 of the 8 bits: on x86 without VNNI the 8-bit product of two neighbours overflows 16 bits and saturates, so that
    the same model would answer differently there. `float_down` spares the inputs of the feed-forward's second matrix, which have
    outliers: its weights are stored in 8 bits and become fp32 again when the model is loaded.
    """

    name: str
    per_channel: bool
    float_down: bool = False


METHODS = (  # the fastest first
    Method("int8-per-channel", per_channel=True),
    Method("int8-per-tensor", per_channel=False),
    Method("int8-float-down", per_channel=True, float_down=True),
)


def quantise(source: Path, target: Path, method: Method) -> None:
    """Quantise the fp32 graph in one folder into another; encoder and embeddings become int8.

    The head (the graph's `Gemm` nodes: pooler and classifier; a decoder's `score`) stays in fp32: it is 0.3 % of the weights, and
    quantising it moved the logits 14 times as far as all other layers together. N-grams beside the encoder stay as they are.
    """
    target.mkdir(parents=True, exist_ok=True)
    model = onnx.load(source / MODEL_FILE)
    head = {node.name for node in model.graph.node if node.op_type == "Gemm" or node.name.startswith("/score/")}
    if method.float_down:
        _store_down_in_8_bits(model.graph, head)
    quantize_dynamic(
        model,
        target / MODEL_FILE,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=method.per_channel,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[
            *head,
            *(f"{name}_MatMul" for name in head),  # the quantiser rewrites Gemm as MatMul under this name
            *(node.name for node in model.graph.node if node.name.startswith(PREFIX)),
        ],
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
    )
    for name in (TOKENIZER_FILE, CONFIG_FILE):
        copyfile(source / name, target / name)


def _store_down_in_8_bits(graph: onnx.GraphProto, head: set[str]) -> None:
    """Replace each constant matrix below the head that narrows its input by int8 values times scales, which ONNX Runtime folds at load."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type == "MatMul" and node.name not in head else None
        if weight is not None and weight.dims[0] > weight.dims[-1]:
            nodes += _dequantised(graph, weight)
            node.input[1] = f"{weight.name}_dequantised"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _dequantised(graph: onnx.GraphProto, weight: onnx.TensorProto) -> list[onnx.NodeProto]:
    values = numpy_helper.to_array(weight)
    scale = np.maximum(np.abs(values).max(axis=0, keepdims=True) / np.float32(INT8_MAX), np.finfo(np.float32).tiny)
    stored = np.round(values / scale).astype(np.int8)
    names = [f"{weight.name}_{part}" for part in ("int8", "scale", "float", "dequantised")]
    graph.initializer.remove(weight)
    graph.initializer.extend([numpy_helper.from_array(stored, names[0]), numpy_helper.from_array(scale, names[1])])
    cast = onnx.helper.make_node("Cast", [names[0]], [names[2]], name=names[2], to=onnx.TensorProto.FLOAT)
    return [cast, onnx.helper.make_node("Mul", [names[2], names[1]], [names[3]], name=names[3])]
