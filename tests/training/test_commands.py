import json
import shutil
import subprocess
import sys

import pytest

from semantic_service.contract.bundle import MODEL_FILE
from semantic_service.contract.labels import LABEL_NAMES, Label
from tests.tiny_model import DOUBTFUL, VIOLATING
from training.__main__ import main

TEXTS = {Label.COMPLIANT: "今天天气真好", Label.SUSPICIOUS: f"{DOUBTFUL}有消息", Label.VIOLATION: f"来{VIOLATING[0]}一把"}
RIGHT = [{"text": text, "label": label.english} for label, text in TEXTS.items()]


@pytest.fixture
def write(tmp_path):
    def to(name, *rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return to


def run(capsys, *arguments):
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_evaluate_measures_each_file_with_the_bundle(tiny_bundle, write, capsys):
    right, wrong = write("right.jsonl", *RIGHT), write("wrong.jsonl", *(row | {"label": "violation"} for row in RIGHT))
    status, out, _ = run(capsys, "evaluate", str(tiny_bundle.path), right, wrong, "--json")
    answer = json.loads(out)
    assert status == 0
    assert answer["model_version"] == "tiny-1"
    assert {name: (values["rows"], round(values["accuracy"], 2)) for name, values in answer["files"].items()} == {
        right: (3, 1.0),
        wrong: (3, 0.33),
    }
    assert set(answer["files"][right]["labels"]) == set(LABEL_NAMES)


def test_evaluate_prints_a_table_for_people(tiny_bundle, write, capsys):
    right = write("right.jsonl", *RIGHT)
    status, out, _ = run(capsys, "evaluate", str(tiny_bundle.path), right)
    assert status == 0
    row = next(line for line in out.splitlines() if right in line)
    assert "| 1.0000 |" in row
    assert "| 1.0000 (1.0000–1.0000) |" in row


def test_evaluate_takes_a_run_and_says_how_sure_it_is(tiny_bundle, write, tmp_path, capsys):
    right = write("right.jsonl", *RIGHT)
    (tmp_path / "config.yaml").write_text("{}", encoding="utf-8")
    assert run(capsys, "evaluate", str(tmp_path), right)[::2] == (
        2,
        f"training: {tmp_path} has no bundle yet: give the same `python -m training run` again to finish it\n",
    )
    shutil.copytree(tiny_bundle.path, tmp_path / "bundle")
    answer = json.loads(run(capsys, "evaluate", str(tmp_path), right, "--json")[1])
    assert answer["files"][right]["intervals"] == {
        "accuracy": [1.0, 1.0],
        "macro_f1": [1.0, 1.0],
        "flagged_accuracy": [1.0, 1.0],
        "false_positive_rate": [0.0, 0.0],
    }


def test_evaluate_takes_benign_texts_without_labels(tiny_bundle, write, capsys):
    ordinary = write("ordinary.jsonl", *({"text": text} for text in TEXTS.values()))
    status, out, _ = run(capsys, "evaluate", str(tiny_bundle.path), ordinary, "--benign", "--json")
    assert status == 0
    assert json.loads(out)["files"][ordinary]["flagged"]["false_positive_rate"] == pytest.approx(2 / 3)


def test_evaluate_reads_other_columns(tiny_bundle, write, capsys):
    renamed = write("renamed.jsonl", *({"body": row["text"], "verdict": row["label"]} for row in RIGHT))
    status, out, _ = run(capsys, "evaluate", str(tiny_bundle.path), renamed, "--text-column", "body", "--label-column", "verdict", "--json")
    assert status == 0
    assert json.loads(out)["files"][renamed]["accuracy"] == 1.0


def test_evaluate_refuses_a_row_by_its_place(tiny_bundle, write, capsys):
    broken = write("broken.jsonl", *RIGHT, {"text": "好", "label": "spam"})
    status, out, err = run(capsys, "evaluate", str(tiny_bundle.path), broken)
    assert (status, out) == (2, "")
    assert err.startswith(f"training: {broken}:4: unknown label 'spam'")
    assert err.count("\n") == 1


@pytest.mark.parametrize("more", [(), ("--benign",)])
def test_evaluate_refuses_a_file_without_rows(more, tiny_bundle, write, capsys):
    empty = write("empty.jsonl")
    assert run(capsys, "evaluate", str(tiny_bundle.path), write("right.jsonl", *RIGHT), empty, *more) == (
        2,
        "",
        f"training: {empty}: has no row\n",
    )


def test_evaluate_refuses_what_is_no_bundle(write, tmp_path, capsys):
    status, out, err = run(capsys, "evaluate", str(tmp_path / "nowhere"), write("right.jsonl", *RIGHT))
    assert (status, out) == (2, "")
    assert err.startswith(f"training: {tmp_path}/nowhere/manifest.json: no such file")
    assert err.count("\n") == 1


def test_evaluate_refuses_a_bundle_that_was_changed(tiny_bundle, write, tmp_path, capsys):
    folder = shutil.copytree(tiny_bundle.path, tmp_path / "changed")
    (folder / MODEL_FILE).write_bytes((folder / MODEL_FILE).read_bytes() + b"\0")
    status, out, err = run(capsys, "evaluate", str(folder), write("right.jsonl", *RIGHT))
    assert (status, out) == (2, "")
    assert "copy the bundle again" in err


@pytest.mark.parametrize(("more", "status"), [((), 0), (("--strict",), 1), (("--json",), 0), (("--strict", "--json"), 1)])
def test_the_doctor_fails_a_file_with_problems_only_when_strict(more, status, write, capsys):
    broken = write("broken.jsonl", *RIGHT, {"text": "好", "label": "spam"})
    answer, out, err = run(capsys, "doctor", broken, *more)
    assert (answer, err) == (status, "")
    problems = json.loads(out)["problems"] if "--json" in more else [line for line in out.splitlines() if line.startswith("- ")]
    assert len(problems) == 1
    assert "unknown label 'spam'" in problems[0]


@pytest.mark.parametrize("more", [(), ("--strict",)])
def test_the_doctor_passes_a_sound_file(more, write, capsys):
    status, out, _ = run(capsys, "doctor", write("right.jsonl", *RIGHT), *more)
    assert status == 0
    assert out.count("None.") == 2


def test_the_strict_doctor_passes_what_is_only_a_warning(write, capsys):
    doubled = write("doubled.jsonl", *RIGHT, RIGHT[0])
    status, out, _ = run(capsys, "doctor", doubled, "--strict", "--json")
    assert status == 0
    assert json.loads(out)["warnings"]


def test_the_doctor_reads_other_columns(write, capsys):
    renamed = write("renamed.jsonl", *({"body": row["text"], "verdict": row["label"]} for row in RIGHT))
    assert run(capsys, "doctor", renamed, "--strict", "--text-column", "body", "--label-column", "verdict")[0] == 0


def test_the_doctor_waits_for_no_library_that_it_was_not_asked_for(write):
    code = "import sys; from training.__main__ import main; main(sys.argv[1:]); print({'torch', 'sklearn', 'cleanlab'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code, "doctor", write("right.jsonl", *RIGHT)], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("arguments", [[], ["walk"], ["evaluate", "bundle"], ["doctor"], ["doctor", "a.jsonl", "--fast"], ["plan"]])
def test_wrong_use_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err
