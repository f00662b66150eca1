"""`deploy/cloud/retrain.sh` against a real sshd on loopback, which stands for the rented machine."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from semantic_service.contract.bundle import Bundle
from tests.deadline import PATIENCE_S, until
from tests.deploy.rented import RUN, WHOLE_RUN_S, Rented, commit_all, head, trainings_killed_in_the_end
from tests.served import LOOPBACK, free_port, killed_in_the_end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test of a fixture waits for a whole run
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
PROJECT = Path(__file__).parents[2]
CODE = ("deploy/cloud", "requirements", "semantic_service", "training")  # all that training needs


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A checkout with a config; beside it a tiny base, posts, and a key."""
    pytest.importorskip("torch", reason="the machine trains for real: pip install -r requirements/train.txt")
    from tests.tiny_base import POSITIONS, rows, word_piece, write_base, write_rows  # noqa: PLC0415 - needs torch

    folder = tmp_path_factory.mktemp("home")
    for name in CODE:
        shutil.copytree(PROJECT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "adapters"))
    write_base(folder / "shared" / "base", word_piece(folder / "words"))
    write_rows(folder / "shared" / "帖子 1.jsonl", rows(160))
    config = {
        "model": {"base": "../shared/base", "max_tokens": POSITIONS},
        "lora": {"rank": 4},
        "data": {"train": ["../shared/帖子 1.jsonl"], "validation": 0.3},
        "train": {"batch_size": 8, "epochs": 1, "logging_steps": 2, "checkpoint_steps": 2},
        "export": {"precision": "fp32"},
    }
    (folder / "project" / "training" / "configs" / "tiny.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", folder / "project"], check=True)
    commit_all(folder / "project")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    return folder


@pytest.fixture(scope="module")
def rented(home, tmp_path_factory):
    if SSHD is None or shutil.which("rsync") is None:
        pytest.skip("needs sshd and rsync: apt-get install openssh-server rsync")
    folder, port = tmp_path_factory.mktemp("rented"), free_port()
    shutil.copyfile(home / "key.pub", folder / "authorized_keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    settings = {
        "Port": port,
        "ListenAddress": LOOPBACK,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "PermitRootLogin": "yes",
        "PasswordAuthentication": "no",
        "UsePAM": "no",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()), encoding="utf-8")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd locks its unprivileged half in
    with (folder / "sshd.log").open("wb") as log:
        sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    with killed_in_the_end(sshd), trainings_killed_in_the_end(folder / "retrain"):
        until(lambda: "Server listening" in (folder / "sshd.log").read_text("utf-8") or sshd.poll() is not None)
        assert sshd.poll() is None, (folder / "sshd.log").read_text("utf-8")
        conf = {
            "HOST": LOOPBACK,
            "PORT": port,
            "USER": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(),
            "KEY": home / "key",
            "SSH_OPTION": f"UserKnownHostsFile={home}/known_hosts",
            "REMOTE_DIR": folder / "retrain",
            "REMOTE_PYTHON": sys.executable,
            "REMOTE_ENV": "OMP_NUM_THREADS=1",
            "PATIENCE_S": "60",
            "RUN": RUN,
            "CONFIG": "training/configs/tiny.yaml",
            "STOP_COMMAND": f": secret-key; touch {home}/stopped",
        }
        yield Rented(sshd, folder / "retrain", conf, home / "project")


@dataclass(frozen=True)
class Journey:
    """What two calls of the script said, how they ended, and the revision that they trained with."""

    revision: str
    first: str
    first_status: int
    was_stopped_by_the_first: bool
    second: str
    second_status: int


@pytest.fixture(scope="module")
def journey(home, rented):
    """Start; drop the connection; press Ctrl-C; give the same command again; restart the machine; see it end."""
    conf, stopped, revision = rented.write_conf(home / "journey.conf"), home / "stopped", head(rented.project)
    logs = [home / "first.log", home / "second.log"]
    with rented.retraining(conf, logs[0]) as first:
        until(lambda: (rented.run() / "checkpoints" / "checkpoint-4" / "trainer_state.json").exists() or first.poll(), WHOLE_RUN_S)
        assert first.poll() is None, logs[0].read_text("utf-8")
        group = int((rented.state() / "pid").read_text("utf-8"))
        os.killpg(group, signal.SIGSTOP)  # it trains no further while the connection is dropped
        dropped = rented.drop_connections()
        until(lambda: "the connection is lost; trying again in 1 s" in logs[0].read_text("utf-8"))
        until(lambda: set(rented.connections()) - set(dropped))
        os.killpg(first.pid, signal.SIGINT)
        first_status = first.wait(PATIENCE_S)
    was_stopped = stopped.exists()
    with rented.retraining(conf, logs[1]) as second:
        until(lambda: "it trains already: following" in logs[1].read_text("utf-8"))
        (rented.state() / "boot").write_text("an earlier one\n", encoding="utf-8")
        os.killpg(group, signal.SIGKILL)
        second_status = second.wait(WHOLE_RUN_S)
    return Journey(revision, logs[0].read_text("utf-8"), first_status, was_stopped, logs[1].read_text("utf-8"), second_status)


def test_it_ends_with_a_verified_bundle_at_home(journey, rented):
    assert journey.second_status == 0, journey.second
    bundle = Bundle.read(rented.project / "runs" / RUN / "bundle")
    assert bundle.manifest.model_version == RUN
    assert f"every digest of {RUN} is right\nruns/{RUN}/bundle\n" in journey.second


def test_the_run_comes_without_its_checkpoints_but_with_what_was_said(journey, rented):
    run = rented.project / "runs" / RUN
    assert {path.name for path in run.iterdir()} >= {"adapter", "bundle", "config.yaml", "machine.log", "metrics.jsonl", "report"}
    assert not any((run / name).exists() for name in ("checkpoints", "best", "onnx"))
    assert "step 4/" in (run / "machine.log").read_text("utf-8")


def test_a_dropped_connection_is_made_again_and_nothing_is_shown_twice(journey):
    after = journey.first.partition("the connection is lost; trying again in 1 s (training goes on without it)")[2]
    assert "interrupted; a training goes on over there" in after
    assert journey.first.count("step 4/") == 1


def test_ctrl_c_leaves_training_and_machine_as_they_are(journey):
    assert journey.first_status == 130
    assert not journey.was_stopped_by_the_first


def test_the_same_command_follows_what_trains_instead_of_starting_a_second(journey):
    assert "uploading" not in journey.second


def test_a_machine_that_was_restarted_resumes_from_its_checkpoint(journey):
    assert "the machine was restarted: resuming from the newest checkpoint" in journey.second
    assert journey.second.count("| encoder ") == 2  # it began twice
    assert journey.second.count("step 2/") == 1


def test_the_machine_is_switched_off_without_showing_how(journey, home):
    assert (home / "stopped").exists()
    assert "running STOP_COMMAND" in journey.second
    assert "secret-key" not in journey.first + journey.second


def test_the_bundle_names_the_revision_that_trained_it(journey, rented):
    assert Bundle.read(rented.project / "runs" / RUN / "bundle").manifest.git_revision == journey.revision


def test_the_same_command_after_the_end_only_verifies(journey, rented, home):
    (home / "stopped").unlink(missing_ok=True)
    status, out, said = rented.retrain(home / "journey.conf")
    assert (status, out) == (0, f"runs/{RUN}/bundle\n")
    assert said.startswith(f"retrain: every digest of {RUN} is right\n")
    assert (home / "stopped").exists()


def test_a_machine_that_can_not_be_switched_off_is_told_loudly(journey, rented, tmp_path):
    status, _, said = rented.retrain(rented.write_conf(tmp_path / "my.conf", STOP_COMMAND="exit 3"))
    assert status == 1
    assert said.endswith("STOP_COMMAND failed: the machine is still on, and costs money; switch it off by hand\n")


@pytest.fixture
def conf(rented, tmp_path):
    """Write a conf of a run that is not the journey's."""

    def write(**changes):
        return rented.write_conf(
            tmp_path / "other.conf", RUN=changes.pop("RUN", tmp_path.name), STOP_COMMAND=f"touch {tmp_path}/stopped", **changes
        )

    return write


def test_a_bundle_that_is_not_what_was_trained_is_refused_and_the_machine_stays_on(journey, rented, conf, tmp_path):
    shutil.copytree(rented.state(), rented.state("broken"))
    shutil.copytree(rented.run(), rented.run("broken"))
    (rented.run("broken") / "bundle" / "model.onnx").write_bytes(b"not what was trained")
    status, out, said = rented.retrain(conf(RUN="broken"))
    assert status == 1
    assert "bundle/model.onnx: sha256 is" in said
    assert "the bundle on the machine is broken, too: choose another RUN" in said
    assert out == ""
    assert not (rented.project / "runs" / "broken").exists()
    assert not (tmp_path / "stopped").exists()


def test_a_damaged_download_is_mended_by_the_same_command(journey, rented, conf):
    for place in (rented.state, rented.run):
        shutil.copytree(place(), place("mended"))
    partial = rented.project / "runs" / ".partial" / "mended"
    shutil.copytree(rented.run(), partial)
    model = partial / "bundle" / "model.onnx"
    before = model.stat()
    model.write_bytes(model.read_bytes()[::-1])
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time: only its content tells
    assert rented.retrain(conf(RUN="mended"))[0] == 0
    Bundle.read(rented.project / "runs" / "mended" / "bundle")


def test_a_training_that_ends_early_gives_its_status_and_stop_always_switches_off(journey, rented, conf, tmp_path):
    (rented.project / "training" / "LOG.md").unlink()
    commit_all(rented.project)
    log, run = tmp_path / "log", tmp_path.name
    with rented.retraining(conf(STOP="always", SET="train.epochs=100"), log) as training:
        until(lambda: (rented.run(run) / "metrics.jsonl").exists() or training.poll() is not None, WHOLE_RUN_S)
        assert "running" in rented.retrain(conf(), "status")[1]
        assert rented.retrain(conf(), "stop")[0] == 0
        assert training.wait(WHOLE_RUN_S) == 130
    said = log.read_text("utf-8")
    assert "training: stopped after step" in said
    assert "the training ended with status 130, its last lines say why" in said
    assert (tmp_path / "stopped").exists()
    assert rented.retrain(conf(), "log")[1] in said
    assert not Path(f"{rented.folder}/files{rented.project}/training/LOG.md").exists()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.epoch=2", "unknown key train.epoch: did you mean train.epochs?"),
        ("data.test=[../shared/gone.jsonl]", "../shared/gone.jsonl: no such file; training/configs/tiny.yaml, SET or DATA names it"),
        ("data.test=[/shared/a.jsonl]", "/shared/a.jsonl: write it relative to "),
    ],
)
def test_what_can_not_be_trained_is_said_before_it_starts(override, reason, rented, conf, tmp_path):
    status, _, said = rented.retrain(conf(SET=override))
    assert status == 2
    assert reason in said
    assert "the machine is still on, and costs money (STOP=success)" in said
    assert not (rented.state(tmp_path.name) / "log").exists()


def test_a_gpu_that_torch_can_not_use_is_told_before_it_is_paid_for(rented, conf, tmp_path):
    stand_in = tmp_path / "nvidia-smi"  # for the driver's own command, where there is no GPU
    stand_in.write_text("#!/bin/sh\necho NVIDIA A10, 23028 MiB, 1 MiB, 470.1\n", encoding="utf-8")
    stand_in.chmod(0o755)
    status, _, said = rented.retrain(conf(REMOTE_ENV=f"PATH={tmp_path}:/usr/local/bin:/usr/bin:/bin"))
    assert status == 2
    assert "GPU: NVIDIA A10, 23028 MiB, 1 MiB, 470.1" in said
    assert "can not use the GPU: install a newer driver" in said


def test_a_second_run_does_not_disturb_the_one_that_trains(rented, conf):
    rented.state("another").mkdir(parents=True)
    with (rented.state("another") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, said = rented.retrain(conf())
    assert status == 2
    assert "state/another trains here: wait for it, or have retrain.sh stop it" in said


def test_a_machine_that_does_not_answer_is_told_at_once(rented, conf):
    status, _, said = rented.retrain(conf(PORT=free_port()))
    assert status == 255
    assert "can't be reached or used: is it on, is its ssh port open to your address, is KEY the right one?" in said


def test_the_environment_is_built_once_for_each_lock(tmp_path):
    shutil.copyfile(PROJECT / "deploy" / "cloud" / "machine.sh", tmp_path / "machine.sh")
    lock = tmp_path / "files" / "home" / "requirements" / "train.txt"
    lock.parent.mkdir(parents=True)
    lock.write_text("# nothing to install\n", encoding="utf-8")

    def build(path):
        given = {"RUN": "a", "PROJECT": "/home", "GIVEN_PYTHON": "", "PATH": path}
        done = subprocess.run(["bash", tmp_path / "machine.sh", "environment"], env=given, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    path = os.environ["PATH"]  # noqa: TID251 - what the script is given
    (tmp_path / "python3.11").write_text("#!/bin/sh\necho no module named venv\nexit 1\n", encoding="utf-8")
    (tmp_path / "python3.11").chmod(0o755)
    assert build(path) == (0, "")
    assert build(f"{tmp_path}:{path}") == (0, "")
    lock.write_text("# another lock\n", encoding="utf-8")
    status, said = build(f"{tmp_path}:{path}")
    assert (status, said) == (2, f"machine: the environment can't be built ({tmp_path}/environment.log): no module named venv\n")
