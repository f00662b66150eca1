import pytest

pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from transformers import BertConfig, EvalPrediction

from semantic_service.contract.labels import Label
from semantic_service.contract.tasks import Task
from training.config import TrainSection
from training.dataset import Example
from training.heads import ABSENT, joint_loss, mean_macro_f1, output_names, targets, tasks_of
from training.loss import classification_loss

pytestmark = pytest.mark.slow
CATEGORY = Task("category", ("none", "abuse", "porn", "advert"))
TASKS = (CATEGORY, Task("topic", ("games", "sports")))
WIDTHS = (3, 4, 2)
TRAIN = TrainSection(class_weights=(0.5, 2.0, 1.0))
label_rows = st.tuples(*(st.sampled_from((ABSENT, *range(width))) for width in WIDTHS)).filter(lambda row: set(row) != {ABSENT})
batches = st.lists(label_rows, min_size=1, max_size=8)


def logits_for(rows, seed=7):
    return torch.randn((len(rows), sum(WIDTHS)), generator=torch.Generator().manual_seed(seed), requires_grad=True)


def loss_of(logits, rows):
    return joint_loss(TRAIN, [], TASKS)({"logits": logits}, torch.tensor(rows))


@given(batches)
def test_a_label_that_a_row_lacks_adds_nothing(rows):
    logits = logits_for(rows)
    loss = loss_of(logits, rows)
    loss.backward()
    assert torch.isfinite(loss)
    learns = [[part.any().item() for part in gradients.split(WIDTHS)] for gradients in logits.grad]
    assert learns == [[label != ABSENT for label in row] for row in rows]


@given(batches)
def test_a_row_that_lacks_a_label_may_answer_whatever_it_likes(rows):
    logits = logits_for(rows).detach()
    absent = torch.tensor(rows).eq(ABSENT).repeat_interleave(torch.tensor(WIDTHS), dim=1)
    assert loss_of(logits + 100 * absent * torch.randn_like(logits), rows) == pytest.approx(loss_of(logits, rows).item(), abs=1e-5)


@given(batches)
def test_every_label_of_a_further_task_weighs_the_same_whatever_batch_it_is_in(rows):
    rows = [(ABSENT, *row[1:]) for row in rows if set(row[1:]) != {ABSENT}]
    if not rows:
        return
    logits = logits_for(rows).detach()
    given_labels = [sum(label != ABSENT for label in row) for row in rows]
    alone = sum(loss_of(logits[[index]], [row]).item() * given_labels[index] for index, row in enumerate(rows))
    assert loss_of(logits, rows).item() * sum(given_labels) == pytest.approx(alone, abs=1e-4)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_the_severity_alone_has_the_loss_that_it_had(severities):
    logits = torch.randn((len(severities), 3), generator=torch.Generator().manual_seed(1))
    labels = torch.tensor(severities)
    joint = joint_loss(TRAIN, [], ())({"logits": logits}, labels[:, None])
    assert torch.equal(joint, classification_loss(TRAIN, [])({"logits": logits}, labels))


def test_targets_follow_the_order_of_the_outputs():
    example = Example("滚", Label.VIOLATION, "f", 1, {"topic": "sports"})
    assert targets(example, TASKS) == [2, ABSENT, 1]
    assert targets(Example("滚", None, "f", 1, {"category": "porn"}), TASKS) == [ABSENT, 2, ABSENT]
    assert output_names(TASKS)[:5] == ("compliant", "suspicious", "violation", "category/none", "category/abuse")
    assert len(output_names(TASKS)) == sum(WIDTHS)


@pytest.mark.parametrize("tasks", [(), TASKS])
def test_a_model_says_which_tasks_it_answers(tasks):
    names = dict(enumerate(output_names(tasks)))
    small = {"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    assert tasks_of(BertConfig(id2label=names, **small)) == tasks


@settings(max_examples=30)
@given(batches)
def test_an_epoch_is_measured_by_the_mean_over_the_tasks_that_have_labels(rows):
    logits, labels = logits_for(rows).detach().numpy(), np.array(rows)
    found = []
    for part, truth in zip(np.split(logits, np.cumsum(WIDTHS)[:-1], axis=1), labels.T, strict=True):
        has = truth != ABSENT
        if has.any():
            found.append(f1_score(truth[has], part[has].argmax(axis=1), average="macro"))
    measured = mean_macro_f1(TASKS)(EvalPrediction(predictions=logits, label_ids=labels))
    assert measured["macro_f1"] == pytest.approx(sum(found) / len(found))


def test_half_of_the_loss_is_for_the_pair_of_source_and_label_half_for_the_label_alone():
    logits = torch.tensor([[1.0, -2.0, 0.5, 0.0, 3.0, -1.0], [0.0, 0.5, 1.0, -1.0, 2.0, 0.0]])
    labels = torch.tensor([[4], [2]])  # suspicious by the named source, violation by the one without a name
    loss = joint_loss(TrainSection(class_weights="none"), [], (), ("strict",))({"logits": logits}, labels)
    shares = logits.softmax(dim=1)
    pairs = [shares[0, 4], shares[1, 2]]
    together = [shares[0, 1] + shares[0, 4], shares[1, 2] + shares[1, 5]]
    assert loss.item() == pytest.approx(-sum(share.log().item() for share in (*pairs, *together)) / 4, abs=1e-5)
