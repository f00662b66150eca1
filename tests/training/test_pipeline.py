import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import yaml

pytest.importorskip("torch", reason="fine-tuning needs the train extra: pip install -r requirements/train.txt")

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification

from semantic_service.contract.bundle import TOKENIZER_FILE, Bundle
from semantic_service.contract.labels import Label
from semantic_service.contract.text import normalise
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.signature import PublicKey
from tests.deadline import until
from tests.served import PROJECT, killed_in_the_end
from tests.signing_keys import needs_signing, write_pair
from tests.tiny_base import POSITIONS, rows, unigram, word_piece, write_base, write_rows
from training.__main__ import main
from training.config import TrainConfig
from training.dataset import read_examples
from training.runs import Run
from training.sets import read_sets

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
    pytest.mark.timeout(600),  # the first test of a fixture waits for a whole run
]
STEP_KEYS = {"current_steps", "total_steps", "epoch", "percentage", "elapsed_time", "remaining_time", "throughput", "memory"}
VOCABULARY = 250  # of the 308 pieces that the Unigram tokenizer has


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Give a folder with two bases, posts, and a config for each base."""
    folder = tmp_path_factory.mktemp("project")
    train = write_rows(folder / "posts.jsonl", rows(1200))  # more than --quick takes
    write_rows(folder / "two-labels.jsonl", rows(80, (Label.COMPLIANT, Label.SUSPICIOUS)))
    test = write_rows(folder / "strange.jsonl", rows(60, seed=8))
    benign = write_rows(folder / "ordinary.jsonl", rows(30, (Label.COMPLIANT,), seed=9))
    (folder / "other").mkdir()
    write_rows(folder / "other" / "strange.jsonl", rows(3))
    write_rows(folder / "other" / "validation.jsonl", rows(3))
    write_rows(folder / "empty.jsonl", [])
    bases = {"pieces": write_base(folder / "pieces", word_piece(folder / "words")), "unigram": write_base(folder / "unigram", unigram())}
    BertForSequenceClassification(BertConfig.from_pretrained(bases["pieces"], num_labels=2)).save_pretrained(
        shutil.copytree(bases["pieces"], folder / "two-labels")
    )
    cut_short = shutil.copytree(bases["pieces"], folder / "cut-short") / "model.safetensors"
    cut_short.write_bytes(cut_short.read_bytes()[:2000])
    for name, base in bases.items():
        config = {
            "model": {"base": str(base), "max_tokens": POSITIONS},
            "lora": {"rank": 4},
            "data": {"train": [str(train)], "test": [str(test)], "benign": [str(benign)], "validation": 0.2},
            "train": {"batch_size": 8, "learning_rate": {"lora": 5e-3, "classifier": 5e-3}},
            "export": {"vocabulary_size": VOCABULARY if name == "unigram" else None},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def train(project, run_dir, *more, config="pieces"):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main(["run", str(project / f"{config}.yaml"), "--quick", "--run-dir", str(run_dir), *more])
    return status, said.getvalue()


@pytest.fixture(scope="module")
def finished(project):
    """Give a finished run's folder, and what the command printed. Not to be changed."""
    run_dir = project / "runs" / "first-1"
    status, said = train(project, run_dir)
    assert status == 0
    return run_dir, said


@pytest.fixture
def killed(finished, tmp_path):
    """Give a run as a kill during the export leaves it."""
    run_dir = tmp_path / "killed"
    shutil.copytree(finished[0], run_dir)
    for name in ("bundle", "onnx", "report"):
        shutil.rmtree(run_dir / name)
    for name in ("onnx/fp32.partial", "bundle.partial"):
        (run_dir / name).mkdir(parents=True)
        (run_dir / name / "model.onnx").write_bytes(b"half a mod")
    return run_dir


def accuracy(bundle, some):
    classifier = OnnxClassifier.load(bundle)
    answers = [Label(int(classifier.score(normalise(row["text"]).text).probabilities.argmax())).english for row in some]
    return sum(answer == row["label"] for answer, row in zip(answers, some, strict=True)) / len(some)


def test_the_last_line_is_the_bundles_path(finished):
    run_dir, said = finished
    assert said.splitlines()[-1] == str(run_dir / "bundle")


def test_the_bundle_loads_and_tells_new_posts_apart(finished):
    bundle = Bundle.read(finished[0] / "bundle")
    assert accuracy(bundle, rows(60, seed=10)) > 0.9


def test_the_manifest_says_how_the_model_was_made(finished):
    run_dir, _ = finished
    manifest = Bundle.read(run_dir / "bundle").manifest
    assert manifest.model_version == "first-1"
    assert manifest.max_tokens == POSITIONS
    assert set(manifest.metrics) == {"validation", "strange", "benign"}
    assert manifest.train_config == yaml.safe_load((run_dir / "config.yaml").read_text("utf-8"))
    assert manifest.train_config["train"]["max_rows"] == 800


def test_the_run_leaves_a_report_for_people_and_for_machines(finished):
    run_dir, _ = finished
    report = run_dir / "report"
    images = {
        "loss.png",
        *(f"{name}-{kind}.png" for name in ("validation", "strange", "benign") for kind in ("pr", "calibration", "confusion")),
    }
    assert {path.name for path in report.iterdir()} == {"report.json", "report.md", *images}
    files = json.loads((report / "report.json").read_text("utf-8"))["files"]
    assert files == json.loads((run_dir / "bundle" / "manifest.json").read_text("utf-8"))["metrics"]
    assert files["strange"]["rows"] == 60


def test_every_logged_step_says_where_training_stands(finished):
    steps = Run(finished[0]).metrics()
    assert all(set(step) >= STEP_KEYS for step in steps)
    assert all({"loss", "lr"} <= set(step) or "eval_loss" in step for step in steps)
    assert {"loss", "eval_loss"} <= set().union(*steps)
    assert [step["current_steps"] for step in steps] == sorted(step["current_steps"] for step in steps)
    assert (steps[-1]["current_steps"], steps[-1]["percentage"], steps[-1]["remaining_time"]) == (steps[-1]["total_steps"], 100.0, 0.0)


def test_a_finished_run_says_so(finished):
    assert json.loads((finished[0] / "status.json").read_text("utf-8"))["stage"] == "finished"


def test_the_same_command_again_says_that_the_run_is_finished(finished, project, capsys):
    run_dir, _ = finished
    assert train(project, run_dir)[0] == 2
    assert capsys.readouterr().err == f"training: {run_dir}/bundle is finished: choose another --run-dir\n"


def test_a_killed_run_carries_on_without_fine_tuning_again(killed, finished, project):
    kept = ("adapter/adapter_model.safetensors", "metrics.jsonl", "checkpoints")
    before = [(killed / name).stat().st_mtime_ns for name in kept]
    status, said = train(project, killed)
    assert (status, said.splitlines()[-1]) == (0, str(killed / "bundle"))
    assert [(killed / name).stat().st_mtime_ns for name in kept] == before
    assert json.loads((killed / "status.json").read_text("utf-8"))["stage"] == "finished"
    resumed, first = (Bundle.read(run_dir / "bundle").manifest for run_dir in (killed, finished[0]))
    assert (resumed.metrics, resumed.temperature, resumed.data_digest) == (first.metrics, first.temperature, first.data_digest)
    assert resumed.sha256["model.onnx"] == first.sha256["model.onnx"]


def test_kills_in_every_stage_behind_the_fine_tuning_leave_the_bundle_of_an_uninterrupted_run(killed, finished, project, tmp_path):
    for stage in ("exporting", "choosing the precision", "evaluating"):
        with (tmp_path / "log").open("wb") as log, killed_in_the_end(start_run(project, killed, log)) as process:
            until(lambda stage=stage, process=process: process.poll() is not None or stage_of(killed) == stage, 120)
            assert process.poll() is None, (tmp_path / "log").read_text("utf-8")
            process.kill()
        assert not (killed / "bundle").exists()
    assert train(project, killed)[0] == 0
    digests = [Bundle.read(run_dir / "bundle").manifest.sha256["model.onnx"] for run_dir in (killed, finished[0])]
    assert digests[0] == digests[1]


def start_run(project, run_dir, log):
    command = [sys.executable, "-m", "training", "run", project / "pieces.yaml", "--quick", "--run-dir", run_dir]
    return subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)


def stage_of(run_dir):
    status = run_dir / "status.json"
    return json.loads(status.read_text("utf-8"))["stage"] if status.exists() else None


@needs_signing
def test_a_run_with_a_key_signs_its_bundle_and_keeps_nothing_of_the_key(killed, project, tmp_path):
    pair = write_pair(tmp_path, "where-my-key-lies")
    said = train(project, killed, "--set", f"export.signing_key={pair.private}")
    assert said[0] == 0
    PublicKey(pair.public).verify(Bundle.read(killed / "bundle"))
    secret = pair.private.read_text("utf-8").splitlines()[1]
    written = [path.read_bytes() for path in killed.rglob("*") if path.is_file()] + [said[1].encode()]
    assert not [content for content in written if b"where-my-key-lies" in content or secret.encode() in content]


@needs_signing
def test_a_key_that_can_not_sign_is_said_before_the_training(project, tmp_path, capsys):
    public = write_pair(tmp_path).public
    assert train(project, tmp_path / "run", "--set", f"export.signing_key={public}")[0] == 2
    assert capsys.readouterr().err.startswith(f"training: {public}: not the private key of an elliptic curve")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_killed_run_does_not_carry_on_with_other_rows(killed, project, capsys):
    posts = project / "posts.jsonl"
    before = posts.read_bytes()
    posts.write_bytes(before.replace(b'"violation"', b'"compliant"'))
    try:
        assert train(project, killed)[0] == 2
    finally:
        posts.write_bytes(before)
    assert (
        capsys.readouterr().err
        == f"training: {killed} was begun with other rows than its data files hold now: put them back, or start anew "
        "(`training run` with another --run-dir, or --resume none)\n"
    )


STEPS = ("train.epochs=1.5", "train.checkpoint_steps=40")  # of the kept ones one lies in the first epoch, one in the second
LONGER = [argument for override in STEPS for argument in ("--set", override)]


@pytest.fixture(scope="module")
def uninterrupted(project):
    run_dir = project / "runs" / "uninterrupted"
    assert train(project, run_dir, *LONGER)[0] == 0
    return run_dir


def weights(run_dir):
    return load_file(run_dir / "adapter" / "adapter_model.safetensors")


def assert_same_weights(run_dir, other):
    mine, others = weights(run_dir), weights(other)
    assert set(mine) == set(others)
    assert all(torch.equal(mine[name], others[name]) for name in mine)


@pytest.mark.parametrize("which", [0, -1], ids=["an early checkpoint", "a late one"])
def test_a_fine_tuning_killed_after_a_checkpoint_ends_with_the_same_weights(which, uninterrupted, project, tmp_path):
    checkpoints = sorted((uninterrupted / "checkpoints").iterdir(), key=lambda path: int(path.name.partition("-")[2]))[:-1]
    run_dir = tmp_path / "killed"
    shutil.copytree(checkpoints[which], run_dir / "checkpoints" / checkpoints[which].name)
    for name in ("config.yaml", "data.sha256", "metrics.jsonl"):
        shutil.copyfile(uninterrupted / name, run_dir / name)
    best = json.loads((uninterrupted / "adapter" / "metrics.json").read_text("utf-8"))["step"]
    if best <= int(checkpoints[which].name.partition("-")[2]):
        shutil.copytree(uninterrupted / "adapter", run_dir / "best" / f"step-{best}")
    cut_short = run_dir / "checkpoints" / "checkpoint-999"
    cut_short.mkdir()
    (cut_short / "trainer_state.json").write_text('{"epoch": 1', encoding="utf-8")
    assert train(project, run_dir, *LONGER)[0] == 0
    assert_same_weights(run_dir, uninterrupted)
    logged = [[step["current_steps"] for step in Run(path).metrics()] for path in (run_dir, uninterrupted)]
    assert logged[0] == logged[1]


def test_ctrl_c_saves_and_the_same_command_carries_on(uninterrupted, project, tmp_path, capsys):
    run_dir = tmp_path / "stopped"
    pressing = threading.Thread(target=press_ctrl_c_once_training, args=(run_dir,))
    pressing.start()
    status, _ = train(project, run_dir, *LONGER)
    pressing.join()
    assert status == 130
    assert "saved: the same command carries on" in capsys.readouterr().err
    assert not (run_dir / "adapter").exists()
    assert train(project, run_dir, *LONGER)[0] == 0
    assert_same_weights(run_dir, uninterrupted)


def press_ctrl_c_once_training(run_dir):
    until((run_dir / "metrics.jsonl").exists)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_loss_that_is_no_number_stops_the_run_with_advice(project, tmp_path, capsys):
    status, _ = train(project, tmp_path / "hot", "--set", "train.learning_rate={lora: 1.0e+30, classifier: 1.0e+30}")
    assert status == 1
    assert "the loss is no number by step" in capsys.readouterr().err


def test_resume_none_starts_the_run_anew(killed, project):
    before = (killed / "adapter").stat().st_mtime_ns
    assert train(project, killed, "--resume", "none")[0] == 0
    assert (killed / "adapter").stat().st_mtime_ns != before


def test_a_path_without_a_checkpoint_is_refused(project, tmp_path, capsys):
    assert train(project, tmp_path / "run", "--resume", str(tmp_path))[0] == 2
    assert f"--resume {tmp_path}: no complete checkpoint is there" in capsys.readouterr().err


def test_without_a_run_dir_the_newest_unfinished_run_of_the_config_carries_on(killed, project, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = [str(project / "pieces.yaml"), "--quick"]
    shutil.copytree(killed, tmp_path / "runs" / "20260101-000000-pieces")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["run", *config]) == 0
    assert said.getvalue().startswith("carrying on with runs/20260101-000000-pieces (--resume none starts a new run)")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["20260101-000000-pieces"]


def test_a_logged_step_is_printed_once(finished):
    assert "'loss'" not in finished[1]


def test_another_config_is_refused_in_a_run_that_was_begun(killed, project, capsys):
    assert train(project, killed, "--set", "train.seed=8")[0] == 2
    said = capsys.readouterr().err
    assert said.startswith(f"training: {killed} holds a run of another config")
    assert "choose another --run-dir" in said
    assert not (killed / "bundle").exists()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.base={project}/nowhere", "model.base '{project}/nowhere' can't be loaded, give a local folder or a Hugging Face name"),
        ("model.max_tokens=64", "model.max_tokens is 64, but {project}/pieces has 32 positions"),
        ("model.base={project}/two-labels", "model.base '{project}/two-labels' can't be loaded"),
        ("model.base={project}/cut-short", "model.base '{project}/cut-short' can't be loaded"),
        ("lora.target_modules=[query, q_proj]", "lora.target_modules q_proj: use auto, all-linear, or some of dense, key, query, value"),
        ("data.test=[{project}/strange.jsonl, {project}/other/strange.jsonl]", "two sets would be called 'strange': rename a file"),
        ("data.test=[{project}/other/validation.jsonl]", "two sets would be called 'validation': rename a file"),
        ("data.test=[{project}/empty.jsonl]", "empty has no row: add some"),
        ("data.validation=[]", "validation has no row: add some"),
        ("data.train=[{project}/ordinary.jsonl]", "train has no row: add some"),
        ("model.adapter={project}/nowhere", "model.adapter {project}/nowhere can't be loaded onto this base"),
        ("data.repeat={{posts.jsonl: 2}}", "data.repeat names posts.jsonl, which is not in data.train"),
        ("data.sources={{cold: [posts.jsonl]}}", "data.sources names posts.jsonl, which is not in data.train"),
        ("train.epoch=1", "unknown key train.epoch: did you mean train.epochs?"),
        (
            "data.train=[{project}/two-labels.jsonl]",
            "no training example is violation: add some, or set train.class_weights to none",
        ),
        ("data.train=[{project}/gone.jsonl]", "{project}/gone.jsonl: can't be read (No such file or directory)"),
    ],
)
def test_what_can_not_be_trained_stops_early_with_one_message(override, reason, project, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert train(project, run_dir, "--set", override.format(project=project))[0] == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training: ")]
    assert len(said) == 1
    assert reason.format(project=project) in said[0]
    assert not any((run_dir / name).exists() for name in ("metrics.jsonl", "checkpoints", "adapter", "bundle"))


def test_a_share_of_a_training_file_can_validate_beside_whole_files(project):
    posts, other = project / "posts.jsonl", project / "two-labels.jsonl"
    sets = read_sets(TrainConfig.load(project / "pieces.yaml", [f"data.validation={{{posts}: 0.25, {other}: 1}}"]))
    trained, validating = ({example.text for example in some} for some in (sets.train, sets.validation))
    every, others = ({example.text for example in read_examples([path])} for path in (posts, other))
    assert not trained & validating
    assert trained | validating == every | others
    assert others <= validating
    assert 0.15 < len(validating - others) / len(every - others) < 0.35


def test_a_run_goes_on_from_an_earlier_adapter(finished, project, tmp_path):
    still = [f"train.learning_rate.{part}=1.0e-12" for part in ("lora", "classifier")]
    overrides = [f"model.adapter={finished[0]}/adapter", *still]
    status, _ = train(project, tmp_path / "second", *(argument for override in overrides for argument in ("--set", override)))
    assert status == 0
    assert accuracy(Bundle.read(tmp_path / "second" / "bundle"), rows(60, seed=10)) > 0.9


@pytest.mark.parametrize(("times", "share"), [(3, 3), (0.25, 0.25), (1.5, 1.5)])
def test_a_file_is_shown_as_often_as_the_config_says(times, share, project):
    posts = project / "posts.jsonl"
    sets = [
        read_sets(TrainConfig.load(project / "pieces.yaml", [f"data.repeat={{{posts}: {number}}}"])).train for number in (1, times, times)
    ]
    assert sets[1] == sets[2]
    assert len(sets[1]) / len(sets[0]) == pytest.approx(share, abs=0.06)


def test_a_config_that_is_not_there_is_refused(project, tmp_path, capsys):
    assert train(project, tmp_path / "run", config="nowhere")[0] == 2
    assert capsys.readouterr().err == f"training: {project}/nowhere.yaml: can't be read (No such file or directory)\n"
    assert not (tmp_path / "run").exists()


def test_a_unigram_vocabulary_is_shrunk_on_the_way(project, tmp_path):
    status, _ = train(project, tmp_path / "small", config="unigram")
    assert status == 0
    bundle = Bundle.read(tmp_path / "small" / "bundle")
    assert Tokenizer.from_file(str(bundle.file(TOKENIZER_FILE))).get_vocab_size() == VOCABULARY
    assert json.loads(bundle.file("config.json").read_text("utf-8"))["vocab_size"] == VOCABULARY
    assert accuracy(bundle, rows(60, seed=10)) > 0.7
