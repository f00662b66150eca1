from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_service.contract.bundle import SELF_CHECK_TOLERANCE, Bundle, SelfCheckError
from semantic_service.engine.backends import Backend, BackendError, backends_here
from semantic_service.engine.calibration import fastest, load_classifier
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.settings import EMBEDDED_MODEL, Settings
from tests.tiny_model import CHECKED

posts = st.lists(st.text("赌彩疑中今天好，abc", min_size=1, max_size=60), min_size=1, max_size=30)


@pytest.fixture(scope="module", params=backends_here())
def backend(request, tiny_bundle):
    return OnnxClassifier.load(tiny_bundle, request.param)


@given(texts=posts, threads=st.integers(1, 8), source=st.randoms())
def test_a_score_is_the_same_on_every_backend_from_any_thread_and_in_any_company(classifier, backend, texts, threads, source):
    alone = {text: classifier.score(text).probabilities for text in texts}
    source.shuffle(texts)
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(lambda text: backend.score(text).probabilities, texts))
    for text, score in zip(texts, together, strict=True):
        assert score.argmax() == alone[text].argmax()
        assert np.abs(score - alone[text]).max() <= SELF_CHECK_TOLERANCE
        assert np.array_equal(score, backend.score(text).probabilities)


@pytest.mark.slow
@settings(max_examples=20)
@given(texts=posts, threads=st.integers(1, 4))
def test_the_embedded_model_answers_alike_from_any_thread_and_in_any_company(embedded, texts, threads):
    alone = [embedded.score(text).probabilities for text in texts]
    with ThreadPoolExecutor(threads) as pool:
        companies = list(pool.map(embedded.score_all, [texts] * threads))
    for scores in companies:
        assert all(map(np.array_equal, [score.probabilities for score in scores], alone))


@pytest.fixture(scope="module")
def embedded():
    return OnnxClassifier.load(Bundle.read(EMBEDDED_MODEL))


@pytest.mark.parametrize("name", ["openvino", "cuda", "tensorrt"])
def test_a_backend_that_is_not_here_is_refused_with_what_to_install(name, tiny_bundle):
    if Backend(name) in backends_here():
        pytest.skip(f"{name} is here")
    with pytest.raises(BackendError, match=rf"MODERATION_BACKEND={name}: the installed onnxruntime has only cpu.*pip install onnxruntime-"):
        OnnxClassifier.load(tiny_bundle, Backend(name))


def test_auto_finds_a_backend_that_serves(tiny_bundle, classifier):
    chosen = load_classifier(tiny_bundle, Backend.AUTO)
    assert all(np.allclose(chosen.score(text).probabilities, classifier.score(text).probabilities, atol=1e-3) for text in CHECKED)


class Timed:
    """A classifier that takes a number of steps for some texts."""

    def __init__(self, steps):
        self.steps = steps

    def score_all(self, texts):
        sum(range(self.steps))
        return texts


def refused():
    raise SelfCheckError("off by 0.5")


def test_auto_takes_the_fastest_of_those_that_pass_their_self_check():
    quick, slow = Timed(10), Timed(100_000)
    assert fastest({Backend.CPU: lambda: slow, Backend.CUDA: lambda: quick, Backend.OPENVINO: refused}, CHECKED) is quick
    assert fastest({Backend.CPU: lambda: quick, Backend.CUDA: lambda: slow}, CHECKED) is quick
    assert fastest({Backend.CPU: lambda: slow, Backend.CUDA: refused}, CHECKED) is slow


def test_a_model_that_no_backend_runs_is_refused():
    with pytest.raises(SelfCheckError, match=r"off by 0\.5"):
        fastest({Backend.CPU: refused, Backend.CUDA: refused}, CHECKED)


def test_the_operator_chooses_the_backend(monkeypatch):
    monkeypatch.setenv("MODERATION_BACKEND", "auto")
    assert Settings.from_environment().source().backend is Backend.AUTO
