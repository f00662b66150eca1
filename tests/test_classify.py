import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from semantic_service.classify import main
from semantic_service.terminal import EXAMPLES
from tests.tiny_model import NEUTRAL

PROJECT = Path(__file__).parents[1]
KEYS = ["label", "label_id", "confidence", "probabilities", "suggestion", "uncertain", "decided_by", "model_version"]


@pytest.fixture(autouse=True)
def tiny(tiny_bundle, monkeypatch):
    monkeypatch.setenv("MODERATION_MODEL", str(tiny_bundle.path))


@pytest.fixture
def pipe(monkeypatch):
    def feed(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))

    return feed


@pytest.mark.parametrize(
    ("text", "heading", "suggestion"),
    [
        ("今天天气真好", "合规 compliant", "通过 pass"),
        ("有点可疑的消息", "疑似 suspicious", "人工复核 review"),
        ("来赌一把", "违规 violation", "拦截 block"),
    ],
)
def test_a_text_is_judged_in_words_for_people(capsys, text, heading, suggestion):
    assert main([text]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(f"{heading} · 置信度 confidence \\d+\\.\\d%", lines[0])
    assert [line.split()[0] for line in lines[1:4]] == ["合规", "疑似", "违规"]
    assert all(re.search(r"\d+\.\d%$", line) for line in lines[1:4])
    assert re.fullmatch(f"  建议 suggestion: {suggestion} · \\d+\\.\\d ms", lines[4])


def test_a_bar_is_as_long_as_the_probability(capsys):
    main([NEUTRAL])
    bars = [re.search("█*·*", line.split(maxsplit=2)[2]).group() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert bars == ["█" * 10 + "·" * 20] * 3


def test_an_uncertain_text_is_marked(capsys):
    main([NEUTRAL])
    assert "不确定 uncertain" in capsys.readouterr().out


def test_no_control_characters_reach_a_file(capsys):
    main(["--demo"])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", capsys.readouterr().out)


def test_json_is_one_object_a_text(capsys, moderator):
    assert main(["--json", "来赌一把"]) == 0
    answer = json.loads(capsys.readouterr().out)
    verdict = moderator.judge("来赌一把").verdict
    assert list(answer) == KEYS
    assert tuple(answer["probabilities"].values()) == verdict.probabilities
    assert answer == answer | {"label": "violation", "label_id": 2, "suggestion": "block", "uncertain": False, "decided_by": "model"}


def test_the_demo_judges_every_example(capsys):
    assert main(["--demo"]) == 0
    out = capsys.readouterr().out
    assert all(f"{text}\n" in out for text in EXAMPLES)
    assert out.count("置信度") == len(EXAMPLES)


def test_a_pipe_is_judged_line_by_line(capsys, pipe):
    pipe("今天天气真好\r\n来赌一把\n有点可疑的消息".encode())
    assert main(["--json"]) == 0
    assert [json.loads(line)["label_id"] for line in capsys.readouterr().out.splitlines()] == [0, 2, 1]


def test_lines_are_told_apart_by_number_not_by_their_words(capsys, pipe):
    pipe("今天天气真好\n来赌一把\n".encode())
    main([])
    out = capsys.readouterr().out
    assert "第 1 行 / line 1\n合规" in out
    assert "第 2 行 / line 2\n违规" in out
    assert "赌" not in out


def test_an_empty_line_of_a_pipe_spoils_no_other(capsys, pipe):
    pipe("今天天气真好\n\n来赌一把\n".encode())
    assert main(["--json"]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["label_id"] for line in captured.out.splitlines()] == [0, 2]
    assert captured.err.startswith("第 2 行 / line 2: the text is empty")


def test_an_empty_pipe_has_nothing_to_judge(capsys, pipe):
    pipe(b"")
    assert main([]) == 0
    assert capsys.readouterr() == ("", "")


def test_bytes_that_are_no_text_are_judged(capsys, pipe):
    pipe("来赌".encode() + b"\xff\xfe\n")
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "violation"


@pytest.mark.parametrize("text", ["", "  ", "\u200b"])
def test_an_empty_text_is_1(capsys, text):
    assert main([text]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the text is empty" in captured.err


def test_a_scene_has_its_own_thresholds(capsys, tmp_path, monkeypatch):
    (tmp_path / "policy.toml").write_text("[scenes.kids]\nreview_at = 0.05\n", encoding="utf-8")
    monkeypatch.setenv("MODERATION_POLICY", str(tmp_path / "policy.toml"))
    for scene in ("kids", "default"):
        main(["--json", "--scene", scene, "今天天气真好"])
    assert [json.loads(line)["suggestion"] for line in capsys.readouterr().out.splitlines()] == ["review", "pass"]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("MODEL", "nowhere", "nowhere/manifest.json: no such file"),
        ("POLICY", "nowhere.toml", "nowhere.toml: can't be read"),
        ("PROT", "1", "did you mean MODERATION_PORT?"),
    ],
)
def test_what_can_not_be_used_is_2_and_one_line_on_stderr(capsys, monkeypatch, variable, value, reason):
    monkeypatch.setenv(f"MODERATION_{variable}", value)
    assert main(["好"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert reason in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--demo", "好"], ["--nonsense"], ["好", "坏"]])
def test_wrong_use_is_2_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m semantic_service.classify" in capsys.readouterr().err


def test_it_runs_as_a_command_where_the_terminal_knows_no_chinese():
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}  # noqa: TID251 - what the process is given
    command = [sys.executable, "-m", "semantic_service.classify", "--", "-来赌一把"]
    done = subprocess.run(command, cwd=PROJECT, env=ascii_only, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"violation" in done.stdout
    assert done.stdout.isascii()


def test_a_models_further_tasks_are_answered_too(tasks_bundle, monkeypatch, capsys):
    monkeypatch.setenv("MODERATION_MODEL", str(tasks_bundle.path))
    assert main(["来赌一把"]) == 0
    assert re.search(r"^  category: gambling \d+\.\d%$", capsys.readouterr().out, re.MULTILINE)
    main(["来赌一把", "--json"])
    category = json.loads(capsys.readouterr().out)["tasks"]["category"]
    assert category["confidence"] == category["probabilities"][category["label"]] == max(category["probabilities"].values())
