from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE
from semantic_service.engine.classifier import OnnxClassifier
from tests.tiny_model import MAX_TOKENS, VOCABULARY, stage
from training.first_token import TOLERANCE, keep_first_token, last_layer_rows

WIDTH, HEADS, LAYERS = 8, 2, 2
TEXTS = ["今天天气真好", "来赌一把", "疑", "彩中赌疑" * 3]
ONNX_RUNTIME = "com.microsoft"
HEADS_OF = {"first": ("Gather", ["tokens", "zero"], {"axis": 1}), "mean": ("ReduceMean", ["tokens"], {"axes": [1], "keepdims": 0})}


def write_encoder(path, pooling):
    """Write a fused encoder of two layers, its head reading the first token or the mean of all."""
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
            for kind, shape in (("qkv", (WIDTH, 24)), ("out", (WIDTH, WIDTH)))
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


@pytest.fixture
def folder(tmp_path):
    return stage(tmp_path / "model")


def narrow(folder):
    opened = partial(OnnxClassifier, tokenizer=folder / TOKENIZER_FILE, max_tokens=MAX_TOKENS)
    return keep_first_token(folder / MODEL_FILE, opened, TEXTS)


def logits(folder, ids, mask):
    session = OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS)._session
    return session.run(["logits"], {"input_ids": np.array(ids), "attention_mask": np.array(mask)})[0]


def rows_of_last_layer(folder):
    model = onnx.load(folder / MODEL_FILE)
    model.graph.output.append(helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["n", "rows", WIDTH]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.ones((1, 5), dtype=np.int64)
    return session.run(["tokens"], {"input_ids": ids, "attention_mask": ids})[0].shape[1]


def test_a_head_on_the_first_token_gets_a_last_layer_of_one_row(folder):
    write_encoder(folder / MODEL_FILE, "first")
    ids, mask = [[2, 4, 5, 3], [2, 6, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]]  # the second is padded
    before = logits(folder, ids, mask)
    assert narrow(folder) <= TOLERANCE
    assert last_layer_rows(folder / MODEL_FILE) == "the first token's"
    assert logits(folder, ids, mask) == pytest.approx(before, abs=TOLERANCE)
    assert rows_of_last_layer(folder) == 1


@pytest.mark.parametrize("write", [lambda path: write_encoder(path, "mean"), lambda path: None], ids=["mean of all", "no attention"])
def test_a_graph_that_needs_every_row_stays_as_it_was(write, folder):
    write(folder / MODEL_FILE)
    before = (folder / MODEL_FILE).read_bytes()
    assert narrow(folder) is None
    assert (folder / MODEL_FILE).read_bytes() == before
    assert last_layer_rows(folder / MODEL_FILE) == "every token's"
    assert len(list(folder.iterdir())) == 4
