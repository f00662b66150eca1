from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE
from semantic_service.engine.classifier import OnnxClassifier
from tests.tiny_encoder import WIDTH, write_encoder
from tests.tiny_model import MAX_TOKENS, stage
from training.first_token import TOLERANCE, keep_first_token, last_layer_rows

TEXTS = ["今天天气真好", "来赌一把", "疑", "彩中赌疑" * 3]


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
