import shutil

import pytest

pytest.importorskip("torch", reason="merging and exporting need the train extra: pip install -r requirements/train.txt")

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from transformers import BertConfig, ErnieConfig, RobertaConfig, XLMRobertaConfig

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OnnxClassifier
from tests.tiny_base import FILLER, POSITIONS, SIGNS, rows, unigram, word_piece, write_base
from training.config import LoraConfig
from training.errors import ParityError, VocabularyError
from training.export import check_parity, export
from training.first_token import last_layer_rows
from training.merge import merge
from training.methods import add_lora
from training.parameters import HEAD_MODULES
from training.parity import PARITY_TOLERANCE
from training.pipeline import export_checked
from training.pretrained import load_base
from training.quantise import METHODS, quantise
from training.vocabulary import shrink_vocabulary

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the first test of a fixture waits for an export
]
TEXTS = [str(row["text"]) for row in rows(40)]
HEAD_WEIGHTS = ("bert.pooler.dense.weight", "classifier.weight")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def base(folder):
    return write_base(folder / "pieces", word_piece(folder / "words"))


@pytest.fixture(scope="module")
def unigram_base(folder):
    return write_base(folder / "unigram", unigram())


def trained(base, **section):
    """Give an adapted model as training could have left it: everything that trains has moved."""
    model, tokenizer = load_base(str(base))
    adapted = add_lora(model, LoraConfig(rank=4, **section))
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=source) / 20)
    return adapted.eval(), tokenizer


@pytest.fixture(scope="module")
def merged(base, folder):
    """Give the merged model and its tokenizer. Not to be changed."""
    adapted, tokenizer = trained(base)
    adapted.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    return merge(str(base), folder / "adapter")


@pytest.fixture(scope="module")
def exported(merged, folder):
    export(*merged, folder / "fp32")
    return folder / "fp32"


def logits(model, tokenizer, texts=TEXTS):
    with torch.inference_mode():
        return np.concatenate([model(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in texts])


def opened(folder):
    return OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, POSITIONS)


def served(folder):
    classifier = opened(folder)
    return np.stack(classifier.logits([classifier.windows(text)[0] for text in TEXTS]))


def weights(folder):
    return {weight.name: weight for weight in onnx.load(folder / MODEL_FILE).graph.initializer}


@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_the_merged_model_answers_as_the_adapted_one(bias, base, tmp_path):
    adapted, tokenizer = trained(base, bias=bias)
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert np.abs(logits(*merge(str(base), tmp_path)) - logits(adapted, tokenizer)).max() < 1e-4


@pytest.mark.parametrize("others", [1, 2, 3])
def test_adapters_of_a_base_are_averaged_weight_by_weight(others, base, merged, folder, tmp_path):
    adapted, tokenizer = trained(base, bias="all")
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    first, second = merge(str(base), tmp_path)[0].state_dict(), merged[0].state_dict()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    average = merge(str(base), tmp_path, [folder / "adapter"] * others)[0].state_dict()
    assert all(torch.allclose(average[name], (first[name] + others * second[name]) / (1 + others), atol=1e-6) for name in first)


def test_adjusted_logits_differ_by_the_adjustment(base, merged, folder):
    adjusted, tokenizer = merge(str(base), folder / "adapter", (), (0.5, 0.0, -0.25))
    assert logits(adjusted, tokenizer) - logits(*merged) == pytest.approx(np.tile([0.5, 0.0, -0.25], (len(TEXTS), 1)), abs=1e-5)


def test_the_head_survives_saving_and_merging(base, tmp_path):
    adapted, tokenizer = trained(base)
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    head = {
        name.replace(".modules_to_save.default", "").removeprefix("base_model.model."): value
        for name, value in adapted.state_dict().items()
    }
    torch.manual_seed(99)  # a head that is lost would be drawn anew
    state = merge(str(base), tmp_path)[0].state_dict()
    names = [name for name in state if set(name.split(".")) & set(HEAD_MODULES)]
    assert len(names) == 4  # weight and bias of pooler and classifier
    assert all(torch.equal(state[name], head[name]) for name in names)


def test_the_exported_graph_computes_what_torch_does(merged, exported):
    assert check_parity(merged[0], opened(exported), TEXTS) < PARITY_TOLERANCE / 10
    assert {path.name for path in exported.iterdir()} >= {MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE}


def test_the_exported_graph_is_fused_and_never_drops(exported):
    operators = {node.op_type for node in onnx.load(exported / MODEL_FILE).graph.node}
    assert {"Attention", "EmbedLayerNormalization", "Gelu"} <= operators
    assert not {"Dropout", "SkipLayerNormalization"} & operators  # the latter is slower than its parts


@pytest.mark.parametrize(("change", "is_right"), [(1e-4, True), (5e-3, False), (np.nan, False)])
def test_a_graph_that_computes_something_else_is_refused(change, is_right, merged, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "spoilt")
    model = onnx.load(exported / MODEL_FILE)
    bias = next(weight for weight in model.graph.initializer if weight.name == "classifier.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(change), bias.name))
    onnx.save(model, tmp_path / "spoilt" / MODEL_FILE)
    classifier = opened(tmp_path / "spoilt")
    if is_right:
        check_parity(merged[0], classifier, TEXTS)
    else:
        with pytest.raises(ParityError, match=r"at most 0\.001 is allowed") as refusal:
            check_parity(merged[0], classifier, TEXTS)
        assert refusal.value.exit_status == 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_int8_keeps_the_head_in_full_and_the_logits_close(method, exported, tmp_path):
    quantise(exported, tmp_path / method.name, method)
    before, after = weights(exported), weights(tmp_path / method.name)
    for name in HEAD_WEIGHTS:
        plain, kept = (numpy_helper.to_array(some[name]) for some in (before, after))
        assert kept.dtype == np.float32
        assert np.array_equal(np.sort(kept, axis=None), np.sort(plain, axis=None))  # some are transposed
    matrices = [
        weight for name, weight in after.items() if len(weight.dims) > 1 and name not in HEAD_WEIGHTS and not name.endswith("_scale")
    ]
    assert matrices
    assert all(weight.data_type in {TensorProto.INT8, TensorProto.UINT8} for weight in matrices)
    moved = np.abs(served(tmp_path / method.name) - served(exported))
    assert moved.max() < 0.1 * np.ptp(served(exported))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_int8_weights_leave_one_bit_for_processors_that_saturate(method, exported, tmp_path):
    quantise(exported, tmp_path / method.name, method)
    quantised = [numpy_helper.to_array(weight) for name, weight in weights(tmp_path / method.name).items() if name.endswith("_quantized")]
    signed = [values for values in quantised if values.dtype == np.int8]
    assert signed
    assert max(np.abs(values.astype(int)).max() for values in signed) <= 64


@pytest.mark.parametrize("architecture", [BertConfig, ErnieConfig, RobertaConfig, XLMRobertaConfig], ids=lambda kind: kind.model_type)
def test_every_encoder_computes_its_last_layer_for_the_first_token_alone(architecture, tmp_path):
    export_checked(*load_base(str(write_base(tmp_path / "base", unigram(), architecture))), tmp_path / "onnx", TEXTS, POSITIONS)
    assert last_layer_rows(tmp_path / "onnx" / MODEL_FILE) == "the first token's"


def test_a_shrunk_vocabulary_keeps_the_logits_of_the_training_texts(unigram_base):
    model, tokenizer = load_base(str(unigram_base))
    model.eval()
    before, pieces = logits(model, tokenizer), [tokenizer.tokenize(text) for text in TEXTS]
    small, cut = shrink_vocabulary(model, tokenizer, TEXTS, size=250)
    assert [cut.tokenize(text) for text in TEXTS] == pieces
    assert np.abs(logits(small, cut) - before).max() < 1e-5
    assert len(cut) == small.config.vocab_size == small.get_input_embeddings().weight.shape[0] == 250


def test_pieces_behind_the_first_window_are_used_too(unigram_base):
    model, tokenizer = load_base(str(unigram_base))
    long = FILLER[100:]  # read as pairs, and the least likely ones
    pieces = tokenizer.tokenize(long)
    assert max(map(len, pieces)) == 2
    tokenizer(long, truncation=True, max_length=8)  # as fine-tuning leaves it
    _, cut = shrink_vocabulary(model, tokenizer, [long], size=200)
    assert cut.tokenize(long) == pieces


def test_a_shrunk_vocabulary_keeps_special_tokens_and_then_characters(unigram_base):
    model, tokenizer = load_base(str(unigram_base))
    _, cut = shrink_vocabulary(model, tokenizer, TEXTS[:1], size=180)
    assert cut.special_tokens_map == tokenizer.special_tokens_map
    assert cut.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [0, 1, 2, 3, 179]
    assert set(FILLER) <= set(cut.get_vocab())
    assert cut.model_input_names == tokenizer.model_input_names


def test_a_shrunk_model_is_exported_and_agrees(unigram_base, tmp_path):
    model, tokenizer = load_base(str(unigram_base))
    small, cut = shrink_vocabulary(model.eval(), tokenizer, TEXTS, size=250)
    export(small, cut, tmp_path / "fp32")
    strange = ["从未见过", "Hello 😀", "".join(SIGNS[label] for label in Label)]
    assert check_parity(small, opened(tmp_path / "fp32"), [*TEXTS, *strange]) < PARITY_TOLERANCE / 10


def test_only_a_unigram_vocabulary_can_be_shrunk(base):
    with pytest.raises(VocabularyError, match="needs a fast Unigram tokenizer"):
        shrink_vocabulary(*load_base(str(base)), TEXTS, 150)


def test_a_vocabulary_below_what_the_texts_use_is_refused(unigram_base):
    with pytest.raises(VocabularyError, match=r"export\.vocabulary_size is 100, but the training texts use \d+ pieces"):
        shrink_vocabulary(*load_base(str(unigram_base)), TEXTS, 100)
