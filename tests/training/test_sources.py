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
from training.sources import fold, fold_graph, leave_to_last, severity_target, sources_in

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


def examples(texts):
    return [Example(text, Label.COMPLIANT, "f", line, source=source) for line, (source, text) in enumerate(texts)]


def left(*texts, held_out=()):
    """Say which of these (source, text) stay."""
    return [(example.source, example.text) for example in leave_to_last(examples(texts), examples(held_out), ("cold", "swsr"))]


def test_a_text_near_one_of_a_later_source_is_left_to_that():
    earlier, later = ("cold", "他们都是一群坏人，真的"), ("swsr", "他们都是一群坏人吗")
    other, own = ("cold", "今天天气很好，去公园走走"), ("", "他们都是一群坏人啊")
    assert left(earlier, later, other, own) == [later, other, own]
    assert left(earlier, other, own, held_out=[later]) == [other, own]
    assert left(later, other, held_out=[earlier]) == [later, other]


def test_texts_of_one_source_may_be_near_each_other():
    assert len(left(("cold", "他们都是一群坏人，真的"), ("cold", "他们都是一群坏人吗"))) == 2


@given(st.lists(st.tuples(st.sampled_from(["", "cold", "swsr"]), st.text("好坏吗", min_size=1, max_size=3)), max_size=5))
def test_texts_too_short_to_tell_stay(texts):
    assert left(*texts) == texts


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
