"""What the README shows is what the embedded model does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.verdict import Policy
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.moderator import Moderator
from semantic_service.settings import EMBEDDED_MODEL

POSTS = [f"data/annotations/{name}.jsonl" for name in ("train", "adverts", "hard", "validation", "test")]
PROJECT = Path(__file__).parents[2]
MAX_BYTES = 45_000_000


@pytest.fixture(scope="module")
def embedded() -> Moderator:
    bundle = Bundle.read(EMBEDDED_MODEL)
    return Moderator(OnnxClassifier.load(bundle), bundle.manifest.model_version, Policy(), 0.6)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_shows_a_real_answer(embedded, name):
    readme = (PROJECT / name).read_text(encoding="utf-8")
    request = json.loads(re.search(r"-d '(\{.*?\})'", readme).group(1))
    shown = json.loads(re.search(r"^ +(\{\"request_id\".*?\})$", readme, re.MULTILINE | re.DOTALL).group(1))
    judgement = embedded.judge(request["text"])
    verdict = judgement.verdict
    assert shown["label"] == verdict.label.english
    assert shown["suggestion"] == verdict.suggestion
    assert shown["uncertain"] is verdict.uncertain
    assert shown["model_version"] == judgement.model_version
    assert list(shown["probabilities"].values()) == pytest.approx(verdict.probabilities, abs=2e-3)


def test_an_advert_is_at_least_suspicious_and_an_ordinary_sentence_compliant(embedded):
    assert embedded.judge("加微信领彩金，日赚三千").verdict.label >= 1
    assert embedded.judge("今天天气真好，下班一起去公园走走吧").verdict.label == 0


def test_most_posts_of_the_validation_file_are_judged_right(embedded):
    lines = (PROJECT / "data/annotations/validation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    flagged = [embedded.judge(row["text"]).verdict.label != 0 for row in rows]
    right = [is_flagged == (row["label"] != "compliant") for row, is_flagged in zip(rows, flagged, strict=True)]
    assert sum(right) / len(right) >= 0.8


def test_the_embedded_bundle_stays_below_45_megabytes():
    assert sum(path.stat().st_size for path in EMBEDDED_MODEL.iterdir()) <= MAX_BYTES


@pytest.mark.parametrize(
    "command",
    [
        ["semantic_service", "--help"],
        ["semantic_service.batch", "--help"],
        ["semantic_service.classify", "--demo"],
        ["semantic_service.store", "delete", "--help"],
        ["training", "--help"],
        ["training", "plan", "--help"],
        ["training", "run", "--help"],
        ["training", "evaluate", "--help"],
        ["training", "predict", "semantic_service/default_model", "加微信领彩金"],
        ["training", "merge", "--help"],
        ["training", "export", "--help"],
        ["training", "push-to-hub", "semantic_service/default_model", "--repo", "me/moderation", "--dry-run"],
        ["training", "promote", "--help"],
        ["training", "rollback", "--help"],
        ["training", "sign", "--help"],
        ["training", "models"],
        ["training", "runs"],
        ["training", "compare", "--help"],
        ["annotation", "init", "--help"],
        ["annotation", "sync", "--help"],
        ["annotation", "select", "--help"],
        ["annotation", "simulate", "--help"],
        ["training", "doctor", *POSTS, "--strict"],
    ],
    ids=" ".join,
)
def test_the_readmes_commands_run(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
