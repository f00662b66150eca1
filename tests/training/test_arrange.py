from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from semantic_service.contract.bundle import (
    ARRANGED_FILE,
    MODEL_FILE,
    TOGETHER,
    TOKENIZER_FILE,
    Bundle,
    CorruptBundleError,
    seal,
)
from semantic_service.contract.registry import Registry
from semantic_service.engine.classifier import OnnxClassifier
from tests.tiny_encoder import LAYERS, write_encoder
from tests.tiny_model import MAX_TOKENS, copy_of, manifest, stage
from training.arrange import MOST_INSIDE, SMALLEST_OUTSIDE, SMALLEST_SHARED, arrange
from training.quantise import METHODS, quantise

INPUTS = ("input_ids", "attention_mask")
SIZES = {TensorProto.FLOAT: 4, TensorProto.INT8: 1, TensorProto.UINT8: 1, TensorProto.INT32: 4, TensorProto.INT64: 8, TensorProto.BOOL: 1}
posts = st.lists(st.text("赌彩疑中今天好，abc", min_size=1, max_size=40), min_size=1, max_size=9)


@pytest.fixture(scope="module", params=["floats", *METHODS[:2]], ids=str)
def bundle(request, tmp_path_factory):
    staging = stage(tmp_path_factory.mktemp("arranged") / "staging")
    write_encoder(staging / MODEL_FILE, "first")
    if request.param != "floats":
        quantise(staging, staging.with_name("int8"), request.param)
        (staging.with_name("int8") / MODEL_FILE).replace(staging / MODEL_FILE)
    assert arrange(staging)
    return seal(staging, manifest(staging), staging.with_name("bundle"))


@pytest.fixture(scope="module")
def plain(bundle):
    return OnnxClassifier(bundle.file(MODEL_FILE), bundle.file(TOKENIZER_FILE), MAX_TOKENS)


@pytest.fixture(scope="module")
def arranged(bundle):
    return OnnxClassifier.load(bundle)


@given(texts=posts, threads=st.integers(1, 4))
def test_scores_are_those_of_the_plain_graph_in_any_company(plain, arranged, texts, threads):
    alone = [plain.score(text) for text in texts]
    with ThreadPoolExecutor(threads) as pool:
        companies = list(pool.map(arranged.score_all, [texts] * threads))
    for scores in (*companies, [arranged.score(text) for text in texts]):
        assert [score.probabilities.tolist() for score in scores] == [score.probabilities.tolist() for score in alone]
        assert [(score.windows, score.tokens) for score in scores] == [(score.windows, score.tokens) for score in alone]


@pytest.fixture(scope="module")
def graph(bundle):
    return onnx.load(bundle.file(ARRANGED_FILE), load_external_data=False).graph


@pytest.fixture(scope="module")
def branches(graph):
    (choice,) = graph.node
    return {attribute.name: attribute.g for attribute in choice.attribute}


def test_several_windows_take_turns_operation_by_operation(graph, branches):
    kinds = [node.op_type for node in branches["else_branch"].node][: 1 - TOGETHER]  # without the copies of the only logits
    assert [node.op_type for node in branches["then_branch"].node] == [kind for kind in kinds for _ in range(TOGETHER)]
    assert "Attention" in kinds
    assert "QAttention" not in kinds
    further = [f"{name}_{number}" for number in range(1, TOGETHER) for name in INPUTS]
    assert [value.name for value in graph.input] == [*INPUTS, *further, "several"]
    assert {*further, "several"} <= {constant.name for constant in graph.initializer}  # so they may be left out
    assert [value.name for value in graph.output] == ["logits", *(f"logits_{number}" for number in range(1, TOGETHER))]


def size(constant):
    return int(np.prod(constant.dims)) * SIZES[constant.data_type]


def test_weights_stay_in_the_plain_graph_and_large_ones_are_shared(graph, branches):
    for constants in (graph.initializer, *(branch.initializer for branch in branches.values())):
        assert all((constant.data_location == TensorProto.EXTERNAL) == (size(constant) >= SMALLEST_OUTSIDE) for constant in constants)
    assert len([constant for constant in graph.initializer if size(constant) >= SMALLEST_SHARED]) >= LAYERS
    assert all(size(constant) < SMALLEST_SHARED for branch in branches.values() for constant in branch.initializer)


def write_graph(path, nodes, constants):
    """Write a graph whose last operation gives `halves`, which become the logits."""
    entries = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in INPUTS]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "labels"])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    cast = helper.make_node("Cast", ["halves"], ["logits"], to=TensorProto.FLOAT)
    graph = helper.make_graph([*nodes, cast], "graph", entries, [output], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_large(path):
    """Write one whose constant becomes twice as large when it is reckoned."""
    write_graph(path, [helper.make_node("Identity", ["table"], ["halves"])], {"table": np.ones((1, MOST_INSIDE), np.float16)})


def write_branches(path):
    """Write one that holds graphs."""
    zeros = helper.make_tensor_value_info("zeros", TensorProto.FLOAT16, [1, 3])
    value = numpy_helper.from_array(np.zeros((1, 3), np.float16), "value")
    inner = helper.make_graph([helper.make_node("Identity", ["value"], ["zeros"])], "inner", [], [zeros], [value])
    nodes = [
        helper.make_node("ReduceMax", ["input_ids"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["is_any"], to=TensorProto.BOOL),
        helper.make_node("If", ["is_any"], ["halves"], then_branch=inner, else_branch=inner),
    ]
    write_graph(path, nodes, {})


@pytest.mark.parametrize("write", [write_large, write_branches])
def test_a_graph_that_can_not_be_arranged_stays_alone(write, tmp_path):
    staging = stage(tmp_path / "model")
    write(staging / MODEL_FILE)
    assert not arrange(staging)
    assert not (staging / ARRANGED_FILE).exists()


def test_what_is_arranged_is_vouched_for_by_the_manifest(bundle, tmp_path):
    folder = copy_of(bundle, tmp_path / "b")
    with (folder / ARRANGED_FILE).open("ab") as file:
        file.write(b" ")
    with pytest.raises(CorruptBundleError, match=f"{folder / ARRANGED_FILE}: sha256 is"):
        Bundle.read(folder)


def test_what_is_arranged_goes_into_the_registry_with_its_bundle(bundle, arranged, tmp_path):
    registry = Registry(tmp_path / "models")
    with registry.locked():
        copied = registry.add(bundle)
    assert (copied.path / ARRANGED_FILE).is_file()
    assert OnnxClassifier.load(copied).score("来赌一把").probabilities.tolist() == arranged.score("来赌一把").probabilities.tolist()
