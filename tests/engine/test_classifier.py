from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, BundleError, CorruptBundleError, SelfCheck, SelfCheckError, seal
from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import AT_ONCE, OVERLAP, OnnxClassifier, softmax
from tests.tiny_model import CHECKED, MAX_TOKENS, NEUTRAL, VOCABULARY, build_bundle, manifest, stage, weights, write_model

CLS, SEP = VOCABULARY["[CLS]"], VOCABULARY["[SEP]"]
ROOM = MAX_TOKENS - 2  # characters in a window
SHARED = MAX_TOKENS // OVERLAP
posts = st.text("赌彩疑中今天好，abc", min_size=1, max_size=120)


def label_of(score):
    return Label(int(np.argmax(score.probabilities)))


@pytest.mark.parametrize(
    ("text", "label"),
    [("今天天气真好", Label.COMPLIANT), ("来赌一把", Label.VIOLATION), ("双色球彩", Label.VIOLATION), ("有点可疑", Label.SUSPICIOUS)],
)
def test_what_a_model_learnt_is_what_it_says(classifier, text, label):
    assert label_of(classifier.score(text)) is label


@given(text=posts)
def test_a_score_is_three_probabilities(classifier, text):
    probabilities = classifier.score(text).probabilities
    assert (probabilities.shape, probabilities.dtype) == ((3,), np.float32)
    assert (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


@given(text=posts)
def test_windows_overlap_and_miss_nothing(classifier, text):
    windows = classifier.windows(text)
    expected = [VOCABULARY.get(character, VOCABULARY["[UNK]"]) for character in text]
    assert all(len(window) <= MAX_TOKENS and (window[0], window[-1]) == (CLS, SEP) for window in windows)
    seen = windows[0][1:-1]
    for window in windows[1:]:
        assert window[1 : 1 + SHARED] == seen[-SHARED:]
        seen += window[1 + SHARED : -1]
    assert seen == expected


@pytest.mark.parametrize(("characters", "windows"), [(1, 1), (ROOM, 1), (ROOM + 1, 2), (2 * ROOM - SHARED, 2), (2 * ROOM - SHARED + 1, 3)])
def test_a_text_is_cut_only_when_it_outgrows_the_window(classifier, characters, windows):
    score = classifier.score("好" * characters)
    assert score.windows == windows
    assert score.tokens == characters + 2 * windows + SHARED * (windows - 1)


@given(before=st.integers(0, 60), after=st.integers(0, 60))
def test_one_bad_passage_condemns_a_long_text_wherever_it_stands(classifier, before, after):
    assert label_of(classifier.score("好" * before + "来赌一把" + "好" * after)) is Label.VIOLATION


@given(text=posts)
def test_the_most_severe_window_counts(classifier, text):
    alone = [softmax(logits) for logits in classifier.logits(classifier.windows(text))]
    severities = [float(window @ np.arange(3)) for window in alone]
    chosen = classifier.score(text).probabilities
    assert float(chosen @ np.arange(3)) == pytest.approx(max(severities), abs=1e-5)
    assert any(np.allclose(chosen, window, atol=1e-6) for window in alone)


def test_suspicion_does_not_hide_a_violation_elsewhere(classifier):
    assert label_of(classifier.score("疑" * 40 + "赌" * 40 + "疑" * 40)) is Label.VIOLATION


def test_a_text_scores_the_same_alone_and_from_many_threads(classifier):
    texts = [*CHECKED, "好" * 50 + "赌", "疑" * 20, NEUTRAL * 30]
    alone = [classifier.score(text).probabilities for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: classifier.score(text).probabilities, texts * 25))
    assert all(np.array_equal(score, alone[number % len(texts)]) for number, score in enumerate(together))


def test_a_higher_temperature_is_less_sure_of_the_same_label(tiny_bundle):
    files = tiny_bundle.file(MODEL_FILE), tiny_bundle.file(TOKENIZER_FILE)
    cold, warm = (OnnxClassifier(*files, MAX_TOKENS, temperature).score("来赌一把") for temperature in (1.0, 4.0))
    assert label_of(cold) is label_of(warm)
    assert warm.probabilities.max() < cold.probabilities.max()


def test_a_bundle_is_scored_at_its_own_temperature(tmp_path):
    bundle = build_bundle(tmp_path / "warm", temperature=2.5)
    assert OnnxClassifier.load(bundle).temperature == 2.5


def test_a_model_without_token_types_is_served(tmp_path, classifier, tiny_bundle):
    path = tmp_path / "bare.onnx"
    write_model(path, inputs=("input_ids", "attention_mask"))
    bare = OnnxClassifier(path, tiny_bundle.file(TOKENIZER_FILE), MAX_TOKENS)
    assert np.array_equal(bare.score("来赌").probabilities, classifier.score("来赌").probabilities)


@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_keeps_the_order_and_never_overflows(logits):
    probabilities = softmax(logits)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=-1), 1, atol=1e-6)
    rows = np.arange(4)
    assert (probabilities[rows, logits.argmax(axis=-1)] == probabilities.max(axis=-1)).all()


@pytest.mark.parametrize("off", [0.0011, 0.5, float("nan")])
def test_a_self_check_that_is_off_is_refused_with_the_model_and_the_amount(off, tiny_bundle):
    first = tiny_bundle.manifest.self_check[0]
    wrong = replace(first, probabilities=(first.probabilities[0] - off, *first.probabilities[1:]))
    spoilt = replace(tiny_bundle, manifest=replace(tiny_bundle.manifest, self_check=(*tiny_bundle.manifest.self_check, wrong)))
    with pytest.raises(SelfCheckError, match=rf"{MODEL_FILE}: self-check text {len(CHECKED) + 1} is off by .*, at most 0.001 is allowed"):
        OnnxClassifier.load(spoilt)


def test_a_self_check_within_the_tolerance_is_served(tiny_bundle):
    first = tiny_bundle.manifest.self_check[0]
    near = replace(first, probabilities=(first.probabilities[0] - 0.0009, *first.probabilities[1:]))
    OnnxClassifier.load(replace(tiny_bundle, manifest=replace(tiny_bundle.manifest, self_check=(near,))))


def test_a_self_check_is_normalised_like_any_text(tiny_bundle):
    score = OnnxClassifier.load(tiny_bundle).score("hello")
    check = SelfCheck("ＨＥＬ\u200bＬＯ", tuple(map(float, score.probabilities)))
    OnnxClassifier.load(replace(tiny_bundle, manifest=replace(tiny_bundle.manifest, self_check=(check,))))


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE])
def test_a_file_that_is_no_model_is_refused_with_the_folder(name, tmp_path):
    staging = stage(tmp_path / "staging")
    described = manifest(staging)
    (staging / name).write_bytes(b"not a model")
    bundle = seal(staging, described, tmp_path / "broken")
    with pytest.raises(CorruptBundleError, match=f"{bundle.path}: the model or its tokenizer can't be opened"):
        OnnxClassifier.load(bundle)


@pytest.mark.parametrize(
    "graph", [{"table": weights()[:, :2]}, {"inputs": ("input_ids", "position_ids")}], ids=["two labels", "unknown input"]
)
def test_a_model_of_another_shape_is_refused_as_a_bundle(graph, tmp_path):
    staging = stage(tmp_path / "staging")
    described = manifest(staging)
    write_model(staging / MODEL_FILE, **graph)
    bundle = seal(staging, described, tmp_path / "strange")
    with pytest.raises(BundleError, match=str(bundle.path)):
        OnnxClassifier.load(bundle)


def test_many_texts_are_tokenised_a_few_at_a_time_and_scored_as_if_alone(classifier, monkeypatch):
    prepared, prepare = [], OnnxClassifier.prepare
    monkeypatch.setattr(OnnxClassifier, "prepare", lambda self, texts: prepared.append(len(texts)) or prepare(self, texts))
    texts = ["好" * (1 + number % 40) for number in range(2 * AT_ONCE + 3)]
    scores = classifier.score_all(texts)
    assert prepared == [AT_ONCE, AT_ONCE, 3]
    assert [score.windows for score in scores] == [len(classifier.windows(text)) for text in texts]
    assert all((score.probabilities == classifier.score(text).probabilities).all() for text, score in zip(texts, scores, strict=True))
