from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE
from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OnnxClassifier
from tests.tiny_model import CATEGORY, MAX_TOKENS, VOCABULARY, category_weights, stage, weights, write_model
from training.config import NgramConfig, TrainConfig
from training.dataset import Example
from training.ngrams import Ngrams, add_ngrams, fit_ngrams, fit_weight, graft
from training.parity import PARITY_TOLERANCE

BUCKETS = 64
CONFIG = NgramConfig(buckets=BUCKETS)
IDS = {character: number for number, character in enumerate("天地赌彩微信")}


def encode(text):
    return [IDS[character] for character in text]


def example(text, label, number=1):
    return Example(text, label, "posts.jsonl", number)


@pytest.fixture(scope="module")
def grafted(tmp_path_factory):
    """Give the tiny model without n-grams, with them, and the n-grams."""
    plain, wide = (stage(tmp_path_factory.mktemp("models") / name) for name in ("plain", "wide"))
    source = np.random.default_rng(7)
    table = np.abs(source.normal(size=(len(VOCABULARY) + BUCKETS, 4))).astype(np.float16)
    ngrams = Ngrams(table, np.array([0.1, 0.2, -0.3], dtype=np.float32), len(VOCABULARY))
    graft(wide / MODEL_FILE, ngrams)
    onnx.checker.check_model(onnx.load(wide / MODEL_FILE))
    return *(OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS) for folder in (plain, wide)), ngrams


@given(window=st.lists(st.integers(0, len(VOCABULARY) - 1), min_size=2, max_size=MAX_TOKENS))
def test_a_grafted_graph_gives_the_sum_of_both_logits(grafted, window):
    plain, wide, ngrams = grafted
    assert wide.logits([window])[0] == pytest.approx(plain.logits([window])[0] + ngrams.logits(window), abs=PARITY_TOLERANCE)


def test_n_grams_leave_the_logits_of_further_tasks_as_they_are(grafted, tmp_path):
    _, wide, ngrams = grafted
    folder = stage(tmp_path / "tasks")
    write_model(folder / MODEL_FILE, np.hstack([weights(), category_weights()]))
    graft(folder / MODEL_FILE, ngrams)
    both = OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS, tasks=[CATEGORY])
    window = [2, 4, 5, 1, 3]
    expected = [*wide.logits([window])[0], *category_weights()[window].mean(axis=0)]
    assert both.logits([window])[0] == pytest.approx(np.array(expected), abs=1e-4)


def test_padding_changes_nothing(grafted):
    _, wide, _ = grafted
    ids, mask = np.array([[2, 4, 5, 3]]), np.ones((1, 4), dtype=np.int64)
    padded = [np.pad(values, ((0, 0), (0, 3))) for values in (ids, mask)]
    answers = [
        wide._session.run(["logits"], {"input_ids": given, "attention_mask": seen, "token_type_ids": np.zeros_like(given)})[0]
        for given, seen in ((ids, mask), padded)
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def test_a_pair_of_tokens_is_learnt_that_no_token_gives_away():
    rows = [("微信", Label.VIOLATION), ("信微", Label.COMPLIANT)] * 20
    ngrams = fit_ngrams([example(text + "天" * (n % 3), label) for n, (text, label) in enumerate(rows)], encode, len(IDS), CONFIG)
    assert ngrams.logits(encode("微信")).argmax() == Label.VIOLATION
    assert ngrams.logits(encode("信微")).argmax() == Label.COMPLIANT


def test_with_two_labels_the_third_is_never_favoured():
    rows = [("天地", Label.COMPLIANT), ("赌彩", Label.VIOLATION), ("地天", Label.COMPLIANT), ("彩赌", Label.VIOLATION)]
    ngrams = fit_ngrams([example(*row) for row in rows], encode, len(IDS), CONFIG)
    compliant, suspicious, violation = ngrams.logits(encode("赌彩"))
    assert suspicious < compliant < violation


def test_the_same_rows_give_the_same_model():
    rows = [example("天地", Label.COMPLIANT), example("赌彩", Label.VIOLATION), example("天赌", Label.SUSPICIOUS)]
    one, two = (fit_ngrams(rows, encode, len(IDS), CONFIG) for _ in range(2))
    assert (one.table == two.table).all()
    assert (one.bias == two.bias).all()


def test_n_grams_that_help_get_weight_and_noise_gets_none():
    labels = np.arange(300) % 3
    encoder = np.random.default_rng(7).normal(size=(300, 3))
    truth = np.eye(3)[labels]
    assert fit_weight(encoder, truth * 2, labels) > 0.5
    assert fit_weight(encoder + truth * 3, -truth, labels) == 0


def test_a_folder_gets_n_grams_that_know_its_words(tmp_path: Path):
    folder = stage(tmp_path / "model")
    rows = [
        (text, label)
        for label, word in ((Label.VIOLATION, "赌彩"), (Label.COMPLIANT, "中中"), (Label.SUSPICIOUS, "疑中"))
        for text in (word, word * 2, word * 3)
    ]
    examples = [example(text, label, number) for number, (text, label) in enumerate(rows)]
    config = TrainConfig.model_validate(
        {"data": {"train": ["x.jsonl"]}, "model": {"max_tokens": MAX_TOKENS}, "ngrams": {"buckets": BUCKETS}}
    )
    before = OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS)
    assert add_ngrams(folder, config, examples, examples) > 0
    after = OnnxClassifier(folder / MODEL_FILE, folder / TOKENIZER_FILE, MAX_TOKENS)
    assert after.score("疑中").probabilities[Label.SUSPICIOUS] != before.score("疑中").probabilities[Label.SUSPICIOUS]


def test_rows_without_a_severity_teach_the_n_grams_nothing(tmp_path):
    config = {"data": {"train": ["x.jsonl"]}, "model": {"max_tokens": MAX_TOKENS}, "ngrams": {"buckets": BUCKETS}}
    config |= {"task_type": "multi_cls", "tasks": {"category": CATEGORY.labels}}
    rows = [example(word * times, label) for label, word in enumerate(("中中", "疑中", "赌彩")) for times in (1, 2, 3)]
    lacking = [Example("彩赌", None, "posts.jsonl", 1, {"category": "lottery"})] * 9
    folders = [stage(tmp_path / name) for name in ("with", "without")]
    for folder, more in zip(folders, (lacking, []), strict=True):
        write_model(folder / MODEL_FILE, np.hstack([weights(), category_weights()]))
        add_ngrams(folder, TrainConfig.model_validate(config), rows + more, rows + more)
    assert (folders[0] / MODEL_FILE).read_bytes() == (folders[1] / MODEL_FILE).read_bytes()
