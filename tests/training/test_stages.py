"""Adapters asked, swapped, merged and exported, each by the command a person gives."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="adapters need the train extra: pip install -r requirements/train.txt")

import numpy as np
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle
from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.text import normalise
from semantic_service.engine.classifier import OnnxClassifier, softmax
from tests.tiny_base import POSITIONS, rows, word_piece, write_adapter, write_base, write_rows
from training.__main__ import main
from training.config import TrainConfig
from training.hub import lay_out_adapter
from training.runs import Run

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
TEXTS = [normalise(str(row["text"])).text for row in rows(6)]
LONG = "".join(TEXTS)  # of several windows
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def base(folder):
    return write_base(folder / "base", word_piece(folder / "words"))


@pytest.fixture(scope="module")
def adapters(base, folder):
    """Give two adapters; the second is without a tokenizer, and names a base that is on another machine."""
    first, second = (write_adapter(folder / name, base, seed) for seed, name in enumerate(("first", "second.v2")))
    for path in second.iterdir():
        if path.name not in {"adapter_config.json", WEIGHTS}:
            path.unlink()
    config = second / "adapter_config.json"
    config.write_text(config.read_text("utf-8").replace(str(base), "/another/machine"), encoding="utf-8")
    return first, second


@pytest.fixture(scope="module")
def run_dir(base, adapters, folder):
    """Give a run that has been fine-tuned, and goes no further."""
    config = {
        "model": {"base": str(base), "max_tokens": POSITIONS},
        "data": {
            "train": [str(write_rows(folder / "posts.jsonl", rows(200)))],
            "validation": [str(write_rows(folder / "held.jsonl", rows(60, seed=8)))],
        },
        "export": {"precision": "fp32"},
    }
    run = Run.open(TrainConfig.model_validate(config), folder / "runs" / "tiny-1", anew=True)
    shutil.copytree(adapters[0], run.adapter)
    return run.path


@pytest.fixture(scope="module")
def merged(adapters, folder):
    """Give what `merge` made of the first adapter. Not to be changed."""
    assert main(["merge", str(adapters[0]), "--out", str(folder / "merged")]) == 0
    return folder / "merged"


def asked(capsys, *arguments):
    """Predict; give the probabilities, by text and model."""
    capsys.readouterr()
    status = main(["predict", *map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert status == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    return {(line["text"], line["predicted"]["model"]): list(line["predicted"]["probabilities"].values()) for line in lines}


def gap(first, second):
    """Give the largest difference of two lists of probabilities."""
    return np.abs(np.array(list(first)) - np.array(list(second))).max()


def by_transformers(path, texts):
    """Ask a folder as anybody would who has transformers alone."""
    return by_torch(AutoModelForSequenceClassification.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path), texts)


def by_torch(model, tokenizer, texts):
    with torch.inference_mode():
        return [model(**tokenizer(text, return_tensors="pt")).logits.softmax(dim=1)[0].tolist() for text in texts]


def served(graph, text):
    classifier = OnnxClassifier(graph / MODEL_FILE, graph / TOKENIZER_FILE, POSITIONS)
    return classifier.score(text).probabilities.tolist()


def test_an_adapter_answers_as_the_model_it_is_merged_into(adapters, merged, capsys):
    answers = asked(capsys, adapters[0], *TEXTS)
    assert gap(answers.values(), by_transformers(merged, TEXTS)) < 1e-4
    assert gap(asked(capsys, merged, *TEXTS).values(), answers.values()) < 1e-4


def test_adapters_are_swapped_on_one_base_and_each_stays_itself(base, adapters, capsys):
    first, second = adapters
    together = asked(capsys, base, "--adapter", first, "--adapter", second, *TEXTS)
    alone = asked(capsys, first, *TEXTS) | asked(capsys, second, "--base", base, *TEXTS)
    assert set(together) == set(alone)
    assert all(together[key] == pytest.approx(alone[key], abs=1e-5) for key in together)
    assert any(together[text, str(first)] != pytest.approx(together[text, str(second)], abs=0.02) for text in TEXTS)


def test_a_run_that_has_no_bundle_yet_is_judged_by_its_adapter(run_dir, adapters, capsys):
    mine, plain = asked(capsys, run_dir, *TEXTS), asked(capsys, adapters[0], *TEXTS)
    assert gap(mine.values(), plain.values()) < 1e-5


def test_a_run_that_fine_tuned_the_whole_model_is_judged_by_it(run_dir, merged, tmp_path, capsys):
    whole = tmp_path / "whole"
    shutil.copytree(merged, whole / "adapter")
    shutil.copyfile(run_dir / "config.yaml", whole / "config.yaml")
    assert gap(asked(capsys, whole, *TEXTS, LONG).values(), asked(capsys, run_dir, *TEXTS, LONG).values()) < 1e-4
    assert main(["push-to-hub", str(whole), "--what", "adapter", "--repo", "me/x", "--dry-run"]) == 2
    assert "there is no adapter to send: use --what merged" in capsys.readouterr().err


def test_an_adapter_whose_base_is_elsewhere_says_so(adapters, tmp_path, capsys):
    for command in (["predict", str(adapters[1]), "好"], ["merge", str(adapters[1]), "--out", str(tmp_path / "out")]):
        assert main(command) == 2
        assert "was trained on /another/machine, which is not here: give --base BASE" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_adapters_that_do_not_fit_the_base_are_refused(adapters, tmp_path, capsys):
    other = write_base(tmp_path / "other", word_piece(tmp_path / "words"))
    config = json.loads((adapters[0] / "adapter_config.json").read_text("utf-8"))
    spoilt = shutil.copytree(adapters[0], tmp_path / "spoilt")
    (spoilt / "adapter_config.json").write_text(json.dumps(config | {"r": 2}), encoding="utf-8")
    assert main(["predict", str(other), "--adapter", str(spoilt), "好"]) == 2
    assert f"training: the adapter {spoilt} can't be loaded onto this base" in capsys.readouterr().err


def test_a_merged_folder_holds_safetensors_tokenizer_and_the_labels(merged):
    names = {path.name for path in merged.iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert list(json.loads((merged / "config.json").read_text("utf-8"))["id2label"].values()) == list(LABEL_NAMES)


def test_an_adapter_without_a_tokenizer_takes_its_bases(base, adapters, tmp_path, capsys):
    assert main(["merge", str(adapters[1]), "--base", str(base), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert gap(by_transformers(tmp_path / "out", TEXTS), asked(capsys, adapters[1], "--base", base, *TEXTS).values()) < 1e-4


def test_merging_again_after_a_kill_is_whole_and_nothing_is_written_over(adapters, merged, tmp_path, capsys):
    (tmp_path / ".out.partial" / "merged").mkdir(parents=True)
    (tmp_path / ".out.partial" / "merged" / "model.safetensors").write_bytes(b"half")
    command = ["merge", str(adapters[0]), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (merged / "model.safetensors").read_bytes()
    assert main(command) == 2
    assert f"--out {tmp_path / 'out'} exists already" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_merged_model_is_exported_to_a_graph_that_answers_alike(precision, merged, tmp_path, capsys):
    assert main(["export", str(merged), "--out", str(tmp_path / "graph"), "--precision", precision]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("parity: torch and ONNX logits differ by at most")
    assert said[-1] == str(tmp_path / "graph")
    assert {path.name for path in (tmp_path / "graph").iterdir()} >= {MODEL_FILE, TOKENIZER_FILE, "config.json"}
    answers = [served(tmp_path / "graph", text) for text in TEXTS]
    assert gap(answers, by_transformers(merged, TEXTS)) < (1e-4 if precision == "fp32" else 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["graph"]


@pytest.fixture(scope="module")
def bundle(run_dir, folder):
    """Give what `export` made of the run. Not to be changed."""
    assert main(["export", str(run_dir), "--out", str(folder / "bundles" / "tiny-fp32")]) == 0
    return Bundle.read(folder / "bundles" / "tiny-fp32")


def test_a_run_is_exported_to_a_bundle_that_serves(bundle, run_dir):
    assert (bundle.manifest.model_version, bundle.manifest.precision) == ("tiny-fp32", "fp32")
    assert bundle.manifest.metrics["validation"]["rows"] == 60
    assert bundle.manifest.data_digest == Run(run_dir).data.read_text("utf-8").strip()
    assert bundle.manifest.temperature != 1
    OnnxClassifier.load(bundle)
    assert [path.name for path in bundle.path.parent.iterdir()] == ["tiny-fp32"]


def test_a_bundle_answers_as_its_adapter_does_but_for_the_temperature(bundle, run_dir, capsys):
    adapted = list(asked(capsys, run_dir, *TEXTS, LONG).values())
    calibrated = softmax(np.log(np.array(adapted)) / bundle.manifest.temperature)
    assert gap(asked(capsys, bundle.path, *TEXTS, LONG).values(), calibrated) < 1e-3


def test_a_merged_model_with_its_config_becomes_the_same_bundle(bundle, run_dir, merged, tmp_path):
    command = ["export", str(merged), "--config", str(run_dir / "config.yaml"), "--out", str(tmp_path / "again")]
    assert main(command) == 0
    again = Bundle.read(tmp_path / "again").manifest
    assert (again.metrics, again.temperature, again.data_digest) == (
        bundle.manifest.metrics,
        bundle.manifest.temperature,
        bundle.manifest.data_digest,
    )


def test_a_run_whose_rows_have_changed_is_not_exported(bundle, run_dir, folder, tmp_path, capsys):
    before = (folder / "held.jsonl").read_bytes()
    write_rows(folder / "held.jsonl", rows(50, seed=9))
    try:
        assert main(["export", str(run_dir), "--out", str(tmp_path / "out")]) == 2
    finally:
        (folder / "held.jsonl").write_bytes(before)
    assert "was begun with other rows than its data files hold now: put them back" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_adapter_as_it_is_sent_is_loaded_as_its_card_says(base, adapters, tmp_path, capsys):
    lay_out_adapter(adapters[0], tmp_path / "sent", "", str(base))
    answers = list(asked(capsys, adapters[0], *TEXTS).values())
    model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "sent", num_labels=3).eval()
    assert gap(by_torch(model, AutoTokenizer.from_pretrained(tmp_path / "sent"), TEXTS), answers) < 1e-4


def test_a_run_can_be_sent_merged(run_dir, merged, capsys):
    capsys.readouterr()
    assert main(["push-to-hub", str(run_dir), "--what", "merged", "--repo", "me/x", "--dry-run"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert set(names) == {"README.md", *(path.name for path in merged.iterdir())}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("export {0}/first", "first is an adapter: give a run, or what `python -m training merge` makes"),
        ("export {0}/runs/tiny-1 --config x.yaml", "is a run, and has a config: leave --config out"),
        ("export {0}/base", "is a base that knows no labels yet"),
        ("export {0}/merged --config {0}/x.yaml", "x.yaml: can't be read"),
        ("merge {0}/merged", "is a merged model, its adapter is merged into it"),
    ],
)
@pytest.mark.usefixtures("run_dir", "merged")
def test_what_can_not_be_merged_or_exported_says_why(command, reason, folder, tmp_path, capsys):
    assert main([*command.format(folder).split(), "--out", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
