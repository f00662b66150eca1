from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, SelfCheckError
from semantic_service.contract.verdict import Decider, Policy
from semantic_service.engine.classifier import OnnxClassifier, softmax
from semantic_service.engine.moderator import Moderator
from tests.tiny_model import CATEGORY, MAX_TOKENS

posts = st.text("赌彩疑中今天好，abc", min_size=1, max_size=120)


@pytest.fixture(scope="module")
def both(tasks_bundle):
    return OnnxClassifier.load(tasks_bundle)


@given(text=posts)
def test_further_tasks_leave_the_severity_as_it_is(classifier, both, text):
    alone, together = classifier.score(text), both.score(text)
    assert np.array_equal(together.probabilities, alone.probabilities)
    assert (together.windows, together.tokens, alone.tasks) == (alone.windows, alone.tokens, ())


@given(text=posts)
def test_a_tasks_probabilities_are_those_of_the_most_severe_window_at_its_own_temperature(both, text):
    logits = np.stack(both.logits(both.windows(text)))
    worst = int(np.argmax(softmax(logits[:, :3]) @ np.arange(3, dtype=np.float32)))
    (category,) = both.score(text).tasks
    assert category == pytest.approx(softmax(logits[worst, 3:] / CATEGORY.temperature), abs=1e-6)
    assert category.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("text", "category"), [("今天天气真好", "none"), ("来赌一把", "gambling"), ("好" * 60 + "彩", "lottery")])
def test_a_judgement_carries_each_tasks_answer(both, text, category):
    (answer,) = Moderator(both, "tiny-tasks", Policy(), 0.6).judge(text).tasks
    assert (answer.task, answer.label) == (CATEGORY, category)
    assert answer.confidence == max(answer.probabilities)


def test_a_term_decides_the_severity_and_not_the_tasks(both):
    judgement = Moderator(both, "tiny-tasks", Policy(deny=("天气",)), 0.6).judge("今天天气真好")
    assert judgement.verdict.decided_by is Decider.LEXICON
    assert [answer.label for answer in judgement.tasks] == ["none"]


def test_a_model_without_tasks_answers_none(moderator):
    assert moderator.judge("来赌一把").tasks == ()


def test_a_graph_of_another_width_than_the_tasks_is_refused(tiny_bundle, tasks_bundle):
    for bundle, tasks, width in ((tiny_bundle, (CATEGORY,), 6), (tasks_bundle, (), 3)):
        with pytest.raises(ValueError, match=f"must give logits of {width} labels"):
            OnnxClassifier(bundle.file(MODEL_FILE), bundle.file(TOKENIZER_FILE), MAX_TOKENS, tasks=tasks)


def test_the_self_check_covers_the_tasks(tasks_bundle):
    first = tasks_bundle.manifest.self_check[0]
    wrong = replace(first, probabilities=(*first.probabilities[:-1], first.probabilities[-1] + 0.01))
    with pytest.raises(SelfCheckError, match=r"text 1 is off by 0\.01"):
        OnnxClassifier.load(replace(tasks_bundle, manifest=replace(tasks_bundle.manifest, self_check=(wrong,))))
