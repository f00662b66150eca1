"""Sets that label by habits of their own: learnt apart, judged together."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semantic_service.contract.bundle import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.labels import LABEL_NAMES, Label
from semantic_service.contract.tasks import Task
from semantic_service.engine.classifier import OnnxClassifier, softmax
from tests.tiny_model import CATEGORY, MAX_TOKENS, VOCABULARY, category_weights, stage, write_model
from training.config import NgramConfig
from training.dataset import Example
from training.ngrams import fit_ngrams
from training.sources import fold, fold_graph, severity_target, sources_in

COLD, SWSR = (Task(name, LABEL_NAMES) for name in ("cold", "swsr"))
BLOCKS = (COLD, SWSR, CATEGORY)
logits = arrays(np.float64, st.tuples(st.integers(1, 4), st.just(12)), elements=st.floats(-30, 30))


@given(logits)
def test_a_labels_probability_is_the_sum_over_the_sources(several):
    folded = fold(several, sources=2)
    assert softmax(folded[:, :3]) == pytest.approx(softmax(several[:, :9]).reshape(-1, 3, 3).sum(axis=1), abs=1e-6)
    assert (folded[:, 3:] == several[:, 9:]).all()  # a further task's


@given(logits)
def test_where_all_is_of_one_source_nothing_is_folded(several):
    assert fold(several, sources=0) is several


def test_each_source_has_three_logits_of_its_own():
    rows = [Example("好", label, "f", 1, source=source) for source in ("", "cold", "swsr") for label in Label]
    assert [severity_target(row, ("cold", "swsr")) for row in rows] == list(range(9))
    assert sources_in(BLOCKS) == 2


@pytest.fixture
def folder(tmp_path):
    """Give a graph of three sources and a category, as training exports it."""
    folder = stage(tmp_path / "model")
    table = np.random.default_rng(7).normal(size=(len(VOCABULARY), 9)).astype(np.float32)
    write_model(folder / MODEL_FILE, np.hstack([table, category_weights()]))
    names = [f"{task.name}/{label}" for task in BLOCKS for label in task.labels]
    (folder / CONFIG_FILE).write_text(json.dumps({"id2label": dict(enumerate([*LABEL_NAMES, *names]))}), "utf-8")
    return folder


def encode(text):
    return [VOCABULARY[character] for character in text]


def opened(folder, tasks):
    return OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS, tasks=tasks)


def test_a_folded_graph_answers_as_the_sources_do_together(folder):
    window = [2, 4, 5, 1, 3]
    (apart,) = opened(folder, BLOCKS).logits([window])
    fold_graph(folder, BLOCKS, MAX_TOKENS, ["赌彩", "中疑"])
    onnx.checker.check_model(onnx.load(folder / MODEL_FILE))
    assert opened(folder, [CATEGORY]).logits([window])[0] == pytest.approx(fold(apart, 2), abs=1e-5)
    assert list(json.loads((folder / CONFIG_FILE).read_text("utf-8"))["id2label"].values()) == [
        *LABEL_NAMES,
        *(f"category/{label}" for label in CATEGORY.labels),
    ]


def test_what_is_added_to_a_sources_logits_moves_what_all_say(folder):
    window, added = [2, 4, 5, 1, 3], np.linspace(-3, 3, 9)
    (apart,) = opened(folder, BLOCKS).logits([window])
    fold_graph(folder, BLOCKS, MAX_TOKENS, ["赌彩", "中疑"], added.tolist())
    wanted = fold(apart + np.pad(added, (0, len(CATEGORY.labels))), 2)
    assert opened(folder, [CATEGORY]).logits([window])[0] == pytest.approx(wanted, abs=1e-5)


def test_a_graph_of_one_source_stays_as_it_is(tmp_path):
    folder = stage(tmp_path / "model")
    before = (folder / MODEL_FILE).read_bytes()
    fold_graph(folder, (), MAX_TOKENS, ["好"])
    assert (folder / MODEL_FILE).read_bytes() == before


def test_n_grams_learn_what_each_source_calls_by_a_label():
    sides = {"": Label.COMPLIANT, "cold": Label.VIOLATION}  # of the same word
    rows = [Example(text, label, "f", 1, source=source) for source, label in sides.items() for text in ("赌彩中", "彩赌赌")]
    rows += [Example("中中", Label.SUSPICIOUS, "f", 1), Example("疑疑", Label.VIOLATION, "f", 1)]
    ngrams = fit_ngrams(rows, encode, len(VOCABULARY), NgramConfig(buckets=64), ("cold",))
    found = ngrams.logits(encode("赌彩"))
    assert found.shape == (6,)
    assert {int(index) for index in found.argsort()[-2:]} == {int(Label.COMPLIANT), 3 + int(Label.VIOLATION)}
