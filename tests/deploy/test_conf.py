"""What is wrong with the conf of `deploy/cloud/retrain.sh` is said before anything is connected to."""

import subprocess
from pathlib import Path

import pytest

from tests.deadline import PATIENCE_S

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "deploy" / "cloud" / "retrain.sh"
LEAST = "HOST=127.0.0.1\nRUN=a\nCONFIG=training/configs/base.yaml\n"


def retrain_is_told(*arguments):
    done = subprocess.run([SCRIPT, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LEAST + "HOTS=a\n", ":4: unknown key HOTS; the keys are HOST PORT "),
        (LEAST + "HOST=b\n", ":4: HOST stands twice"),
        (LEAST + "just words\n", ":4: write KEY=value"),
        ("HOST=a\nRUN=a\n", ": CONFIG is missing"),
        (LEAST + "PORT=ssh\n", ": PORT is ssh, it must be a number"),
        (LEAST + "STOP=sometimes\nSTOP_COMMAND=true\n", ": STOP is sometimes, it must be success, always or never"),
        (LEAST + "STOP=always\n", ": STOP=always needs a STOP_COMMAND"),
        (LEAST.replace("RUN=a", "RUN=../a"), ": RUN is ../a, it must be letters"),
        (LEAST + "REMOTE_ENV=rm\n", ": REMOTE_ENV is rm, it must be NAME=value"),
        (LEAST + "REMOTE_DIR=a b\n", ": REMOTE_DIR is a b, it must be letters"),
        (LEAST.replace("base.yaml", "bass.yaml"), "CONFIG=training/configs/bass.yaml: no such file, seen from "),
    ],
)
def test_a_mistake_is_refused_by_its_place(text, reason, tmp_path):
    conf = tmp_path / "my.conf"
    conf.write_text(text, encoding="utf-8")
    status, out, said = retrain_is_told(conf)
    assert (status, out) == (2, "")
    assert reason in said
    assert said.count("\n") == 1


def test_a_value_is_never_run(tmp_path):
    conf = tmp_path / "my.conf"
    conf.write_text(f"HOST=$(touch {tmp_path}/was-run)\nRUN=`touch {tmp_path}/was-run`\n", encoding="utf-8")
    assert retrain_is_told(conf)[0] == 2
    assert not (tmp_path / "was-run").exists()


def test_the_example_is_a_good_one():
    status, _, said = retrain_is_told("deploy/cloud/retrain.example.conf", "no-such-command")
    assert (status, said) == (2, "retrain: unknown command no-such-command: it is one of start, status, log, stop\n")


def test_help_teaches():
    status, out, _ = retrain_is_told("--help")
    assert status == 0
    assert "deploy/cloud/retrain.sh a10.conf status" in out
