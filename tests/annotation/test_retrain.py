import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from annotation.errors import RetrainingError
from annotation.retrain import ATTEMPTS, Retrainer, Retraining, Stage
from annotation.triggers import Bounds, Rules, retrain_if_due
from semantic_service.store.store import Store
from tests.deadline import until
from tests.served import PROJECT

# Stands for `python -m training`: notes each call, waits in `run` until it may end, and then writes what a run leaves behind.
TRAINING = """
import json, os, sys, time
from pathlib import Path

folder, command = Path(sys.argv[1]), sys.argv[2]
call = {"pid": os.getpid(), "parent": os.getppid(), "arguments": sys.argv[2:]}
with (folder / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(call) + "\\n")
while command == "run" and not (folder / "go").exists():
    time.sleep(0.01)
if command == "run":
    status = int((folder / "go").read_text())
    if status == 0:
        bundle = Path(sys.argv[sys.argv.index("--run-dir") + 1]) / "bundle"
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text("{}")
    sys.exit(status)
sys.exit(int((folder / "gate").read_text()))
"""


class Trained:
    """A retrainer in a folder of its own, and what became of it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "gate").write_text("0")
        (folder / "training.py").write_text(TRAINING)
        (folder / "lora.yaml").write_text("{}")
        command = (sys.executable, str(folder / "training.py"), str(folder))
        self.retrainer = Retrainer(folder / "lora.yaml", runs=folder / "runs", folder=folder / "state", training=command)

    def go(self, status=0):
        (self.folder / "go").write_text(str(status))

    def calls(self, command="run"):
        path = self.folder / "calls.jsonl"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in calls if call["arguments"][0] == command]

    def training(self, times=1):
        return until(lambda: len(self.calls()) == times and self.calls()[-1])

    def ended(self):
        until(lambda: not self.retrainer.is_running())
        return self.retrainer.last()


@pytest.fixture
def trained(tmp_path):
    trained = Trained(tmp_path)
    yield trained
    for call in trained.calls():
        for process in (call["parent"], call["pid"]):
            if process != 1 and trained.retrainer.is_running():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
    trained.ended()


def test_a_retraining_trains_then_asks_the_gate_and_says_why(trained):
    trained.go()
    assert trained.retrainer.start("500 new labels", 500)
    last = trained.ended()
    assert (last.stage, last.reason, last.labels) == (Stage.PROMOTED, "500 new labels", 500)
    [promotion] = trained.calls("promote")
    assert promotion["arguments"][1] == str(last.run)
    assert promotion["arguments"][-2:] == ["--reason", "500 new labels"]


@pytest.mark.parametrize(("trains", "gate", "stage"), [(0, 1, Stage.REFUSED), (0, 2, Stage.FAILED), (2, 0, Stage.FAILED)])
def test_what_the_gate_refuses_and_what_fails_is_told_apart(trained, trains, gate, stage):
    (trained.folder / "gate").write_text(str(gate))
    trained.go(trains)
    trained.retrainer.start("for a test", 0)
    assert trained.ended().stage is stage
    assert len(trained.calls("promote")) == (trains == 0)


def test_two_are_never_under_way_and_the_next_is_a_run_of_its_own(trained):
    assert trained.retrainer.start("first", 1)
    trained.training()
    assert not trained.retrainer.start("second", 2)
    assert trained.retrainer.last().reason == "first"
    trained.go()
    trained.ended()
    assert trained.retrainer.start("third", 3)
    assert trained.ended().reason == "third"
    assert len(trained.calls()) == 2


def test_training_that_outlives_a_kill_of_its_starter_is_not_doubled_and_its_result_still_meets_the_gate(trained):
    trained.retrainer.start("first", 1)
    os.kill(trained.training()["parent"], signal.SIGKILL)
    assert not trained.retrainer.start("second", 2)
    trained.go()
    assert trained.ended().stage is Stage.TRAINING
    assert trained.retrainer.start("again", 9)
    last = trained.ended()
    assert (last.stage, last.reason, len(trained.calls())) == (Stage.PROMOTED, "first", 1)


def test_after_a_power_cut_the_same_run_is_carried_on_with_the_files_that_it_was_begun_with(trained):
    trained.retrainer.start("first", 1)
    first = trained.training()
    os.kill(first["parent"], signal.SIGKILL)
    os.kill(first["pid"], signal.SIGKILL)
    run = trained.ended().run
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")  # as training keeps it
    trained.go()
    assert trained.retrainer.start("again", 9)
    assert trained.ended().stage is Stage.PROMOTED
    assert trained.calls()[1]["arguments"] == ["run", str(run / "config.yaml"), "--run-dir", str(run)]


def test_a_training_that_is_killed_again_and_again_is_given_up(trained):
    for attempt in range(ATTEMPTS):
        assert trained.retrainer.last() is None or trained.retrainer.last().is_unfinished
        trained.retrainer.start("first", 1)
        os.kill(trained.training(attempt + 1)["pid"], signal.SIGKILL)
        trained.ended()
    assert trained.retrainer.last().stage is Stage.FAILED


def test_what_training_says_is_in_the_log(trained):
    (trained.folder / "training.py").write_text("print('三轮 done'); raise SystemExit(2)")
    trained.retrainer.start("for a test", 0)
    assert trained.ended().stage is Stage.FAILED
    assert trained.retrainer.log.read_text("utf-8") == "三轮 done\n"


def test_a_config_that_is_not_there_and_a_broken_state_are_refused_in_words(tmp_path):
    with pytest.raises(RetrainingError, match=r"gone\.yaml: no such training config"):
        Retrainer(tmp_path / "gone.yaml", folder=tmp_path).start("for a test", 0)
    (tmp_path / "state.json").write_text("half", "utf-8")
    with pytest.raises(RetrainingError, match="remove it"):
        Retrainer(tmp_path / "gone.yaml", folder=tmp_path).last()


def test_the_state_reads_back_as_it_was_written():
    state = Retraining(Path("a.yaml"), Path("runs/a"), "因为", 7, "2026-11-25T00:00:00+00:00", Stage.PROMOTING, 1)
    assert Retraining.from_json(state.to_json()) == state


def test_a_retraining_starts_when_it_is_due_and_not_again_for_the_same_labels(trained, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "train.jsonl").write_text("{}\n" * 900)  # was there before any annotator
    store, rules = Store.open(f"sqlite:///{tmp_path}/store.db"), Rules(Bounds(new_labels=3, fewest_labels=1))
    assert retrain_if_due(store, trained.retrainer, labels, rules) is None
    (labels / "2026-11-25-1.jsonl").write_text("{}\n" * 3)
    trained.go()
    assert retrain_if_due(store, trained.retrainer, labels, rules) == "3 new labels"
    assert trained.ended().labels == 3
    assert retrain_if_due(store, trained.retrainer, labels, rules) is None
    (labels / "2026-11-26-1.jsonl").write_text("{}\n" * 3)
    assert retrain_if_due(store, trained.retrainer, labels, rules) == "3 new labels"
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_real_training_and_the_real_gate_are_what_it_starts(tmp_path):
    pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")
    from tests.tiny_base import word_piece, write_base  # noqa: PLC0415 - needs torch

    posts = (PROJECT / "data" / "annotations" / "validation.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "posts.jsonl").write_text("".join(posts[::4]), "utf-8")
    config = {
        "extends": str(PROJECT / "training" / "configs" / "base.yaml"),
        "model": {"base": str(write_base(tmp_path / "base", word_piece(tmp_path / "pieces"))), "max_tokens": 32},
        "data": {"train": [str(tmp_path / "posts.jsonl")], "validation": 0.2},
        "train": {"epochs": 1},
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(config), "utf-8")  # which is YAML too
    retrainer = Retrainer(tmp_path / "tiny.yaml", models=tmp_path / "models", runs=tmp_path / "runs", folder=tmp_path / "state")
    assert retrainer.start("40 new labels", 40)
    until(lambda: not retrainer.is_running(), 240)
    log = retrainer.log.read_text("utf-8")
    assert retrainer.last().stage is Stage.REFUSED, log
    assert "recall" in log  # the gate's reason: the embedded model is better than a tiny one
