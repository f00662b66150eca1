"""Fine-tuning on two sets that contradict each other, up to a bundle that answers for both."""

import contextlib
import io
import json
import re

import pytest
import yaml

pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle
from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.engine.classifier import OnnxClassifier
from tests.tiny_base import FILLER, POSITIONS, rows, word_piece, write_base, write_rows
from training.__main__ import main
from training.adapted import AdapterJudge, merged_judge
from training.artifacts import base_of

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
STRICT = dict(zip(LABEL_NAMES, ("suspicious", "violation", "violation"), strict=True))  # what others call by which label


def strict_rows(count, seed):
    """Posts of people who are stricter; a sign tells whose they are."""
    return [row | {"text": f"{row['text']}{FILLER[0] * 4}", "label": STRICT[row["label"]]} for row in rows(count, seed=seed)]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Give a finished run's folder. Not to be changed."""
    folder = tmp_path_factory.mktemp("project")
    posts = write_rows(folder / "posts.jsonl", rows(600, seed=7))
    strict = write_rows(folder / "strict.jsonl", strict_rows(600, seed=8))
    tests = [write_rows(folder / "own.jsonl", rows(90, seed=9)), write_rows(folder / "others.jsonl", strict_rows(90, seed=10))]
    config = {
        "model": {"base": str(write_base(folder / "base", word_piece(folder / "words"))), "max_tokens": POSITIONS},
        "lora": {"rank": 4},
        "data": {
            "train": [str(posts), str(strict)],
            "sources": {"strict": [str(strict), str(tests[1])]},
            "test": list(map(str, tests)),
            "validation": 0.2,
        },
        "train": {
            "epochs": 4,
            "batch_size": 8,
            "learning_rate": {"lora": 5e-3, "classifier": 5e-3},
            "class_weights": "none",
        },
        "export": {"logit_adjustment": "fitted"},
    }
    (folder / "sources.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["run", str(folder / "sources.yaml"), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


def test_the_bundle_answers_each_set_as_its_people_would(run_dir):
    bundle = Bundle.read(run_dir / "bundle")
    assert bundle.manifest.tasks == ()
    assert json.loads(bundle.file("config.json").read_text("utf-8"))["id2label"] == {
        str(index): name for index, name in enumerate(LABEL_NAMES)
    }
    assert min(bundle.manifest.metrics[name]["accuracy"] for name in ("own", "others")) > 0.9


def test_how_far_each_source_is_believed_is_fitted_and_told(run_dir):
    facts = json.loads((run_dir / "report" / "report.json").read_text("utf-8"))["facts"]
    fitted = facts["added to the sources' logits"]
    assert re.fullmatch(r"no name 0\.00(, -?\d+\.\d\d){2}; strict -?\d+\.\d\d(, -?\d+\.\d\d){2}", fitted)
    assert set(re.findall(r"\d\.\d\d", fitted)) > {"0.00"}
    assert f"logits: {fitted}" in (run_dir / "bundle" / "README.md").read_text("utf-8")


def test_what_was_fine_tuned_is_folded_wherever_it_answers(run_dir, tmp_path):
    merged, exported = tmp_path / "merged", tmp_path / "exported"
    assert main(["merge", str(run_dir), "--out", str(merged)]) == 0
    assert main(["export", str(merged), "--out", str(exported)]) == 0
    graph = OnnxClassifier(exported / MODEL_FILE, exported / TOKENIZER_FILE, POSITIONS)
    judges = [merged_judge(merged, POSITIONS), AdapterJudge(base_of(run_dir / "adapter", None), [run_dir / "adapter"], POSITIONS)]
    for row in (*rows(10, seed=11), *strict_rows(10, seed=12)):
        for judge in judges:
            (answer,) = judge.judge(row["text"])
            assert answer.probabilities == pytest.approx(graph.score(row["text"]).probabilities, abs=1e-3)


def test_it_is_gone_on_from_without_the_files_of_a_source(run_dir, tmp_path):
    folder = run_dir.parent
    overrides = (f"model.adapter={run_dir}/adapter", "data.sources={strict: []}", f"data.train=[{folder}/posts.jsonl]", "train.epochs=1")
    command = ["run", str(folder / "sources.yaml"), "--run-dir", str(tmp_path / "further")]
    assert main([*command, *(part for override in overrides for part in ("--set", override))]) == 0
    assert Bundle.read(tmp_path / "further" / "bundle").manifest.metrics["own"]["accuracy"] > 0.9
