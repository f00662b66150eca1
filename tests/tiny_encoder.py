"""A tiny encoder of two layers with random weights, as the exporter fuses it."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.tiny_model import VOCABULARY

WIDTH, HEADS, LAYERS = 64, 2, 2
ONNX_RUNTIME = "com.microsoft"
HEADS_OF = {"first": ("Gather", ["tokens", "zero"], {"axis": 1}), "mean": ("ReduceMean", ["tokens"], {"axes": [1], "keepdims": 0})}


def write_encoder(path: Path, pooling: str) -> None:
    """Write the graph, its head reading the `first` token or the `mean` of all."""
    source = np.random.default_rng(7)
    constants = {
        "words": source.normal(size=(len(VOCABULARY), WIDTH)),
        "head": source.normal(size=(WIDTH, 3)),
        "scale": np.ones(WIDTH),
        "shift": np.zeros(WIDTH),
        "bias": source.normal(size=3 * WIDTH),
        **{
            f"{kind}_{n}": source.normal(size=shape)
            for n in range(LAYERS)
            for kind, shape in (("qkv", (WIDTH, 3 * WIDTH)), ("out", (WIDTH, WIDTH)))
        },
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["tokens_0"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.INT32),
    ]
    for n in range(LAYERS):
        after = "tokens" if n == LAYERS - 1 else f"tokens_{n + 1}"
        packed = [f"tokens_{n}", f"qkv_{n}", "bias", "mask"]
        nodes += [
            helper.make_node("Attention", packed, [f"seen_{n}"], name=f"attention_{n}", domain=ONNX_RUNTIME, num_heads=HEADS),
            helper.make_node("MatMul", [f"seen_{n}", f"out_{n}"], [f"mixed_{n}"]),
            helper.make_node("SkipLayerNormalization", [f"mixed_{n}", f"tokens_{n}", "scale", "shift"], [after], domain=ONNX_RUNTIME),
        ]
    kind, inputs, attributes = HEADS_OF[pooling]
    nodes += [helper.make_node(kind, inputs, ["pooled"], **attributes), helper.make_node("MatMul", ["pooled", "head"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
        + [numpy_helper.from_array(np.array(0), "zero")],
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(ONNX_RUNTIME, 1)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=9), path)
