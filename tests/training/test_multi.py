"""Fine-tuning for the severity and a category, half of whose labels are missing, up to the service's answer."""

import contextlib
import io
import json
import random

import pytest
import yaml

pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")

import numpy as np
import torch
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.live import Live, Source
from semantic_service.engine.workers import Workers
from tests.tiny_base import FILLER, POSITIONS, rows, word_piece, write_base, write_rows
from training.__main__ import main
from training.config import TrainConfig
from training.export import check_parity
from training.heads import output_names
from training.merge import merge
from training.parity import PARITY_TOLERANCE

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the first test waits for a whole run
]
SIGNS = {"none": FILLER[:2], "gambling": FILLER[2:4], "advert": FILLER[4:6]}


def posts(count, seed=7):
    """Invent posts whose category has a sign of its own, and nothing to do with the severity."""
    source = random.Random(seed)
    for row in rows(count, seed=seed):
        category = source.choice(list(SIGNS))
        yield row | {"text": f"{row['text']}{SIGNS[category] * 4}", "labels": {"category": category}}


def lacking(some):
    """Take the category from half of the posts, and the severity from every tenth."""
    for number, row in enumerate(some):
        yield row | {"labels": {}} if number % 2 else row | {"label": None if number % 10 == 0 else row["label"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    train = write_rows(folder / "posts.jsonl", list(lacking(posts(900))))
    test = write_rows(folder / "strange.jsonl", list(lacking(posts(100, seed=8))))
    write_rows(folder / "severities.jsonl", rows(60))
    write_rows(folder / "categories.jsonl", [row | {"label": None} for row in posts(60)])
    config = {
        "task_type": "multi_cls",
        "tasks": {"category": list(SIGNS)},
        "model": {"base": str(write_base(folder / "base", word_piece(folder / "words"))), "max_tokens": POSITIONS},
        "lora": {"rank": 4},
        "data": {"train": [str(train)], "test": [str(test)], "validation": 0.2},
        "train": {"epochs": 3, "batch_size": 8, "learning_rate": {"lora": 5e-3, "classifier": 5e-3}},
        "export": {"logit_adjustment": [0.0, 0.25, 0.0]},
    }
    (folder / "multi.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def train(project, run_dir, *overrides):
    with contextlib.redirect_stdout(io.StringIO()):
        sets = [argument for override in overrides for argument in ("--set", override)]
        return main(["run", str(project / "multi.yaml"), "--run-dir", str(run_dir), *sets])


@pytest.fixture(scope="module")
def run_dir(project):
    """Give a finished run's folder. Not to be changed."""
    assert train(project, project / "runs" / "multi-1") == 0
    return project / "runs" / "multi-1"


@pytest.fixture(scope="module")
def bundle(run_dir):
    return Bundle.read(run_dir / "bundle")


@pytest.fixture(scope="module")
def config(project):
    return TrainConfig.load(project / "multi.yaml")


def merged(config, run_dir, adjustment=()):
    return merge(config.model.base, run_dir / "adapter", (), adjustment, output_names(config.further_tasks))


def test_the_bundle_names_the_task_its_labels_and_a_fitted_temperature(bundle):
    (task,) = bundle.manifest.tasks
    assert (task.name, task.labels) == ("category", tuple(SIGNS))
    assert task.temperature not in (1.0, bundle.manifest.temperature)
    assert all(len(check.probabilities) == 6 for check in bundle.manifest.self_check)
    assert json.loads(bundle.file("config.json").read_text("utf-8"))["id2label"]["4"] == "category/gambling"
    assert "Task category: none, gambling, advert" in bundle.file("README.md").read_text("utf-8")


def test_the_service_answers_severity_and_category_of_new_posts(bundle):
    some = list(posts(60, seed=10))
    with TestClient(create_app(Live(Source(bundle.path), None, uncertain_max=0.6), Workers(threads=2, bound=64))) as client:
        answers = client.post("/classify/batch", json={"items": [{"text": row["text"]} for row in some]}).json()["results"]
        assert client.get("/models/current").json()["tasks"] == {"category": list(SIGNS)}
    severities = [answer["label"] == row["label"] for answer, row in zip(answers, some, strict=True)]
    categories = [answer["tasks"]["category"]["label"] == row["labels"]["category"] for answer, row in zip(answers, some, strict=True)]
    assert min(np.mean(severities), np.mean(categories)) > 0.9


def test_one_graph_computes_every_logit_as_torch_does(config, run_dir):
    exported = run_dir / "onnx" / "fp32"
    classifier = OnnxClassifier(exported / MODEL_FILE, exported / TOKENIZER_FILE, POSITIONS, tasks=config.further_tasks)
    model, _ = merged(config, run_dir, config.export.logit_adjustment)
    assert classifier.logits(classifier.windows("好"))[0].shape == (6,)
    assert check_parity(model, classifier, [row["text"] for row in posts(40, seed=11)]) < PARITY_TOLERANCE


def test_only_the_severitys_logits_are_adjusted(config, run_dir):
    plain, tokenizer = merged(config, run_dir)
    adjusted, _ = merged(config, run_dir, (0.5, 0.0, -0.25))
    ids = tokenizer("晴好", return_tensors="pt")
    with torch.inference_mode():
        moved = (adjusted(**ids).logits - plain(**ids).logits)[0]
    assert moved.tolist() == pytest.approx([0.5, 0.0, -0.25, 0.0, 0.0, 0.0], abs=1e-5)


def test_the_report_measures_each_task_on_the_rows_that_have_its_label(run_dir, bundle):
    strange = json.loads((run_dir / "report" / "report.json").read_text("utf-8"))["files"]["strange"]
    assert (strange["rows"], strange["tasks"]["category"]["rows"]) == (90, 50)
    assert min(strange["macro_f1"], strange["tasks"]["category"]["macro_f1"]) > 0.9
    assert set(strange["tasks"]["category"]["f1"]) == set(SIGNS)
    assert bundle.manifest.metrics["strange"] == strange
    assert "| strange    | category |   50 |" in (run_dir / "report" / "report.md").read_text("utf-8")


def test_evaluate_measures_the_tasks_of_the_bundle(project, bundle, capsys):
    files = [str(project / name) for name in ("strange.jsonl", "severities.jsonl")]
    assert main(["evaluate", str(bundle.path), *files, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["files"]
    assert measured[files[0]] == bundle.manifest.metrics["strange"]
    assert measured[files[1]]["tasks"] == {}
    assert main(["evaluate", str(bundle.path), files[0]]) == 0
    assert "| category |   50 |" in capsys.readouterr().out
    assert main(["evaluate", str(bundle.path), str(project / "categories.jsonl")]) == 2
    assert "has no row with a severity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("tasks.topic=[games, sports]", "train has no row with a label of task topic: add a column topic, or take it out of tasks"),
        ("tasks.category=[none, gambling, advert, porn]", "no training row has category porn: add some"),
        ("tasks.category=[none, gambling]", "strange.jsonl:11: unknown label 'advert' of task category: use one of none, gambling"),
        ("data.validation=[{project}/severities.jsonl]", "validation has no row with a label of task category"),
        ("data.validation=[{project}/categories.jsonl]", "validation has no row with a severity"),
        ("data.test=[{project}/categories.jsonl]", "categories has no row with a severity"),
        ("task_type=single_cls", "tasks are for task_type: multi_cls"),
    ],
)
def test_what_can_not_be_trained_stops_early_with_one_message(override, reason, project, tmp_path, capsys):
    assert train(project, tmp_path / "run", override.format(project=project)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training: ")]
    assert len(said) == 1
    assert reason in said[0]
    assert not (tmp_path / "run" / "checkpoints").exists()
