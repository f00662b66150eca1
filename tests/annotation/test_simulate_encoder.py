import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="an encoder needs the train extra: pip install -r requirements/train.txt")

import torch
from transformers import AutoModel, AutoTokenizer

from annotation.__main__ import main
from annotation.errors import SimulationError
from annotation.simulate_features import Encoder, character_features, with_embeddings
from tests.tiny_base import FILLER, rows, word_piece, write_base, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TEXTS = [FILLER[start : start + 3 + start % 40] for start in range(100)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return write_base(folder / "base", word_piece(folder / "words"))


@pytest.fixture
def encoder(base, tmp_path):
    return Encoder(base, 20, tmp_path)


def test_an_embedding_is_the_mean_of_the_last_states_whatever_else_is_in_the_batch(encoder, base):
    embeddings = encoder.embed(TEXTS)
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()
    for text, embedding in zip(TEXTS, embeddings, strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, truncation=True, max_length=20, return_tensors="pt")).last_hidden_state
        assert embedding == pytest.approx(states[0].mean(dim=0).numpy(), abs=1e-4)


def test_embeddings_are_computed_once_for_the_same_texts_encoder_and_length(base, tmp_path):
    first = Encoder(base, 20, tmp_path).embed(TEXTS)
    assert len(list(tmp_path.iterdir())) == 1
    np.save(next(tmp_path.iterdir()), first + 1)  # to be recognised by
    assert (Encoder(base, 20, tmp_path).embed(TEXTS) == first + 1).all()
    assert (Encoder(base, 20, tmp_path).embed(TEXTS[::-1]) == first[::-1]).all()
    assert not (Encoder(base, 8, tmp_path).embed(TEXTS) == first).all()


def test_embeddings_stand_beside_characters_as_long_as_these(encoder):
    characters, _ = character_features(TEXTS, TEXTS)
    embeddings = encoder.embed(TEXTS)
    features = with_embeddings(characters, embeddings, embeddings)
    assert (features[:, : characters.shape[1]] != characters).nnz == 0
    added = features[:, characters.shape[1] :].toarray()
    assert added.mean(axis=0) == pytest.approx(np.zeros(32), abs=1e-6)
    assert (added**2).sum(axis=1).mean() == pytest.approx(1, abs=0.01)


def test_a_folder_that_holds_no_weights_is_refused(base, tmp_path):
    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    with pytest.raises(SimulationError, match="holds no Hugging Face encoder"):
        Encoder(tmp_path, 20, tmp_path / "cache").embed(TEXTS)


def test_the_labels_that_each_strategy_bought_are_fine_tuned_on(base, tmp_path, capsys):
    training = tmp_path / "training.yaml"
    train = {"epochs": 6, "batch_size": 8, "learning_rate": {"base": 1e-3, "classifier": 1e-2}}
    training.write_text(
        json.dumps({"model": {"base": str(base), "max_tokens": 32, "method": "full"}, "train": train, "data": {"train": ["x"]}})
    )
    config = {
        "train": str(write_rows(tmp_path / "train.jsonl", rows(300))),
        "test": str(write_rows(tmp_path / "test.jsonl", rows(60, seed=8))),
        "out": str(tmp_path / "out"),
        "encoder": str(base),
        "max_tokens": 32,
        "start": 60,
        "batch": 60,
        "budget": 180,
        "seeds": 2,
        "strategies": {"random": {"random_share": 1}},
        "fine_tune": str(training),
    }
    (tmp_path / "simulate.yaml").write_text(json.dumps(config))
    assert main(["simulate", str(tmp_path / "simulate.yaml")]) == 0
    assert "Fine-tuned in the end" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["fine_tuned"]["random"]["labels"] == 180
    assert report["fine_tuned"]["random"]["macro_f1"] > 0.5
    (labels,) = (tmp_path / "out" / "fine-tuned").glob("*/labels.jsonl")
    assert len(labels.read_text().splitlines()) == 180


def test_a_training_that_fails_says_where_its_log_is(base, tmp_path, capsys):
    training = tmp_path / "training.yaml"
    training.write_text("nonsense: true")
    folder = tmp_path / "out"
    overrides = [
        f"train={write_rows(tmp_path / 'train.jsonl', rows(300))}",
        f"test={write_rows(tmp_path / 'test.jsonl', rows(60, seed=8))}",
    ]
    overrides += [f"out={folder}", f"fine_tune={training}", "budget=201", "seeds=2", "encoder=null"]
    assert main(["simulate", "annotation/configs/simulate.yaml", *(part for value in overrides for part in ("--set", value))]) == 2
    assert "the training exited with 2; see" in capsys.readouterr().err
    (log,) = folder.glob("fine-tuned/*/log")
    assert "nonsense" in log.read_text()
