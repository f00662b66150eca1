import pytest

pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, DataCollatorWithPadding, XLMRobertaConfig

from semantic_service.contract.labels import Label
from tests.tiny_base import rows, unigram, word_piece, write_base, write_decoder
from training.checkpoints import POOL, EpochOrder
from training.config import TrainSection
from training.dataset import Example
from training.head_start import SPREAD, start_head
from training.heads import joint_loss, targets
from training.pretrained import load_base

pytestmark = pytest.mark.slow
TRAIN = TrainSection(class_weights="none")
EXAMPLES = [Example(row["text"], Label.parse(row["label"]), "posts.jsonl", line) for line, row in enumerate(rows(96))]
LOSS = joint_loss(TRAIN, EXAMPLES, ())


def batches_for(tokenizer):
    encoded = [{**tokenizer(example.text), "labels": targets(example, ())} for example in EXAMPLES]
    collate = DataCollatorWithPadding(tokenizer)
    return [collate(encoded[start : start + 32]) for start in (0, 32, 64)]


def loss_over(model, batches):
    with torch.no_grad():
        return sum(LOSS(model.eval()(**{**batch, "labels": None}), batch["labels"]) for batch in batches).item() / len(batches)


@pytest.mark.parametrize("architecture", [BertConfig, XLMRobertaConfig])
def test_a_head_begins_as_a_probe_of_its_base(architecture, tmp_path):
    model, tokenizer = load_base(str(write_base(tmp_path / "base", unigram(), architecture)))
    batches = batches_for(tokenizer)
    base = [parameter.clone() for parameter in model.base_model.parameters()][:-2]  # the last two may be the pooler's
    before = loss_over(model, batches)
    start_head(model, batches, LOSS)
    assert loss_over(model, batches) < min(0.8, before)
    assert all(map(torch.equal, base, model.base_model.parameters()))


def test_the_layer_before_the_last_is_spread_out(tmp_path):
    model, tokenizer = load_base(str(write_base(tmp_path / "base", word_piece(tmp_path / "tokenizer"))))
    batches = batches_for(tokenizer)
    start_head(model, batches, LOSS)
    seen = []
    model.bert.pooler.dense.register_forward_hook(lambda _, inputs, outputs: seen.append(outputs))
    loss_over(model, batches)
    assert torch.cat(seen).mean(dim=0).abs().max() < 1e-3
    torch.testing.assert_close(torch.cat(seen).std(dim=0), torch.full((32,), SPREAD), rtol=1e-2, atol=0)


def test_a_decoders_head_stays_as_it_was_drawn(tmp_path):
    model, tokenizer = load_base(str(write_decoder(tmp_path / "base")))
    drawn = model.score.weight.clone()
    start_head(model, batches_for(tokenizer), LOSS)
    assert torch.equal(model.score.weight, drawn)


def test_a_dropout_of_none_is_the_bases_and_0_is_nowhere_in_it(tmp_path):
    base = str(write_base(tmp_path / "base", word_piece(tmp_path / "tokenizer")))
    rates = [
        {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
        for model in (load_base(base)[0], load_base(base, dropout=0.0)[0])
    ]
    assert rates == [{0.1}, {0.0}]


@given(st.lists(st.integers(1, 128), min_size=1, max_size=700), st.integers(1, 7), st.integers(0, 3))
def test_an_epoch_is_every_row_once_in_an_order_that_seed_and_epoch_decide(lengths, batch_size, epoch):
    order = EpochOrder(lengths, batch_size, seed=7)
    order.set_epoch(epoch)
    again = EpochOrder(lengths, batch_size, seed=7)
    again.set_epoch(epoch)
    assert sorted(order) == list(range(len(lengths)))
    assert list(order) == list(again)


def test_batches_hold_rows_of_like_length_and_come_in_no_order_of_length():
    source = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 128, (POOL * 8,), generator=source)
    batches = lengths[list(EpochOrder(lengths.tolist(), 8, seed=7))].view(-1, 8).float()
    assert batches.std(dim=1).mean() < 3  # of 37 over all
    positions = torch.arange(float(len(batches)))
    assert torch.corrcoef(torch.stack([positions, batches.mean(dim=1)]))[0, 1].abs() < 0.4
