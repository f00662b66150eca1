"""From an unsure verdict to a better model: serve, store, push, label, pull, train, gate, promote, reload."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")

from annotation.__main__ import main
from annotation.settings import Settings
from annotation.settle import Overlap
from annotation.studio import Studio
from annotation.tasks import choice
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record
from semantic_service.contract.registry import Registry
from semantic_service.settings import EMBEDDED_MODEL
from tests.annotation.label_studio import needs_label_studio
from tests.deadline import until
from tests.served import PROJECT, free_port, killed_in_the_end, serving
from tests.tiny_base import word_piece, write_base
from training.__main__ import main as training

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_label_studio]

PATIENCE_S = 300.0
LABELLED = 40
SHARE = 0.2  # of the posts: two people label them
GIVEN = PROJECT / "data" / "annotations"


def records(path):
    return [Record.from_json(line) for line in path.read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Loop:
    """What an operator has set, and where the labels land."""

    settings: Settings
    labels: Path
    monkeypatch: pytest.MonkeyPatch

    def written(self):
        return [record for path in self.labels.glob("20*.jsonl") for record in records(path)]

    def serve_at(self, port):
        self.monkeypatch.setenv("ANNOTATION_SERVICE_URL", f"http://127.0.0.1:{port}")


@pytest.fixture
def loop(variables, tmp_path, monkeypatch):
    port, labels = free_port(), tmp_path / "labels"
    more = {"DATA": labels, "QUEUE": 1, "SECOND_OPINION_SHARE": SHARE, "WEBHOOK_PORT": port, "WEBHOOK_SECRET": "a" * 24}
    for name, value in {**more, "WEBHOOK_URL": f"http://127.0.0.1:{port}/webhook"}.items():
        monkeypatch.setenv(f"ANNOTATION_{name}", str(value))
    return Loop(Settings.from_environment(), labels, monkeypatch)


def label(studio, truth):
    """Label the least sure tasks as two annotators would: the second one sees every fifth post, and is wrong about the first of these."""
    second = studio._client.users.create(email="second@example.com", username="second", first_name="B").id
    tasks = sorted(studio.tasks(), key=lambda task: task.id)[:LABELLED]
    overlap, disputed, undecided = Overlap(share=SHARE), None, tasks[0]
    for task in tasks:
        right = truth[task.ext_id.partition("-")[0]]
        given = None if task is undecided else right
        studio._client.annotations.create(id=task.id, result=[choice(given)], lead_time=2.0)
        if overlap.needed(task.ext_id.partition("-")[0]) == 1:
            continue
        if disputed is None and task is not undecided:
            disputed, given = task, Label((right + 1) % 3)
        studio._client.annotations.create(id=task.id, result=[choice(given)], lead_time=3.0, completed_by=second)
    assert disputed is not None
    return {task.ext_id.partition("-")[0] for task in tasks if task not in {undecided, disputed}}, disputed.ext_id.partition("-")[0]


def train(labels, folder):
    """Train on our own posts and the new labels, as README says; gives the run."""
    config = {
        "extends": str(PROJECT / "training" / "configs" / "base.yaml"),
        "model": {"base": str(write_base(folder / "base", word_piece(folder / "pieces"))), "max_tokens": 32},
        "data": {"train": [str(GIVEN / "train.jsonl"), str(labels / "20*.jsonl")], "validation": [str(GIVEN / "validation.jsonl")]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    command = [sys.executable, "-m", "training", "run", folder / "config.yaml", "--quick", "--run-dir", folder / "run"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def see_unsure_posts(server, posts, store):
    """Send posts as a forum does: the unsure ones, and no others but the audit share, are in the store."""
    answers = [server.classify(post.text) for post in posts]
    assert {status for status, _ in answers} == {200}
    unsure = {post.id for post, (_, verdict) in zip(posts, answers, strict=True) if verdict["uncertain"]}
    assert len(unsure) > LABELLED
    until(lambda: unsure <= {review.text_id for review in store.reviews()}, PATIENCE_S)
    assert {review.text_id for review in store.reviews() if review.is_uncertain} == unsure


def label_by_webhook(loop, studio, store, truth):
    """Label while `sync` runs, whose next round is an hour away; gives the texts that are settled, and the disputed one."""
    command = [sys.executable, "-m", "annotation", "sync", "--interval", "3600"]
    with (loop.labels.parent / "sync.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=os.environ, stdout=log, stderr=log)  # noqa: TID251 - what was set
    with killed_in_the_end(process):
        until(lambda: "all is well" in Path(log.name).read_text("utf-8") or process.poll() is not None, PATIENCE_S)
        settled, disputed = label(studio, truth)
        until(lambda: len({answer.text_id for answer in store.answers()}) == LABELLED, PATIENCE_S)
    return settled, disputed


def promote(run, models, capsys):
    """The gate refuses a tiny model, the operator insists; gives the new champion's version."""
    assert training(["promote", str(run), "--models", str(models)]) == 1
    assert "recall" in capsys.readouterr().out
    assert training(["promote", str(run), "--models", str(models), "--force", "--reason", "the loop's own test"]) == 0
    return Registry(models).pointer()


def test_unsure_posts_come_back_as_labels_and_as_another_model(loop, store, tmp_path, capsys):
    posts = records(GIVEN / "validation.jsonl")
    truth, models = {post.id: post.label for post in posts}, tmp_path / "models"
    with serving(EMBEDDED_MODEL, tmp_path, models=models, database_url=loop.settings.database_url, audit_share=0.05) as server:
        see_unsure_posts(server, posts, store)
        assert main(["init"]) == main(["push", "--count", "60"]) == main(["push", "--count", "0"]) == 0
        first, again = map(int, re.findall(r"(\d+) tasks sent", capsys.readouterr().out))
        assert LABELLED < first <= 60
        assert again == 0
        with Studio.find(loop.settings) as studio:
            loop.serve_at(server.port)
            settled, disputed = label_by_webhook(loop, studio, store, truth)
            assert main(["pull"]) == main(["pull"]) == main(["push", "--count", "0"]) == 0
            assert f"{disputed}-{Purpose.ADJUDICATION}" in {task.ext_id for task in studio.tasks()}
        assert f"{len(settled)} labels added and 0 corrected" in capsys.readouterr().out
        assert {record.id: record.label for record in loop.written()} == {text_id: truth[text_id] for text_id in settled}
        assert main(["report", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["states"] == {"settled": len(settled), "waiting": 0, "disputed": 1, "undecided": 1}
        assert report["agreement"]["overall"]["value"] < 1
        champion = promote(train(loop.labels, tmp_path), models, capsys)
        until(lambda: server.classify("今天天气真好")[1]["model_version"] == champion, PATIENCE_S)
