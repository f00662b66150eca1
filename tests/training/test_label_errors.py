import json
import random

import pytest

pytest.importorskip("cleanlab", reason="label errors need the train extra: pip install -r requirements/train.txt")

from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record
from training.__main__ import main
from training.dataset import Columns
from training.errors import DataError
from training.label_errors import FOLDS, find_label_errors

SIGNS = {Label.COMPLIANT: "晴好", Label.SUSPICIOUS: "私聊", Label.VIOLATION: "赌博"}
FILLER = "".join(map(chr, range(0x4E00, 0x4E00 + 150)))
WRONG = (10, 41, 90)  # rows


def posts(count, labels=tuple(Label)):
    source = random.Random(7)
    texts = ["".join(source.choices(FILLER, k=6)) + SIGNS[labels[number % len(labels)]] * 2 for number in range(count)]
    return [{"text": text, "label": labels[number % len(labels)].english} for number, text in enumerate(texts)]


def mislabel(rows):
    for number in WRONG:
        rows[number]["label"] = Label((Label.parse(rows[number]["label"]) + 1) % 3).english
    return rows


@pytest.fixture
def write(tmp_path):
    def to(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return tmp_path / name

    return to


def test_planted_errors_are_found_with_the_label_that_the_others_suggest(write, tmp_path):
    path = write("posts.jsonl", mislabel(posts(240)))
    right = [row["label"] for row in posts(240)]
    found = find_label_errors([path], Columns(), tmp_path / "out.jsonl")
    assert {row.place.line - 1 for row in found.rows} == set(WRONG)
    assert all(row.suggested == right[row.place.line - 1] for row in found.rows)
    confidences = [row.self_confidence for row in found.rows]
    assert confidences == sorted(confidences)


def test_the_rows_written_are_annotation_records_with_a_suggestion(write, tmp_path):
    rows = mislabel(posts(240))
    record = Record(rows[10]["text"], Label.parse(rows[10]["label"]), "forum", ("ann",), "2026-11-22T00:00:00+00:00")
    path = write("posts.jsonl", [*rows[:10], json.loads(record.to_json()), *rows[11:]])
    find_label_errors([path], Columns(), tmp_path / "out.jsonl")
    written = {}
    for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines():
        values = json.loads(line)
        assert {values.pop("suggested"), values["label"]} <= {label.english for label in Label}
        assert 0 <= values.pop("self_confidence") < 0.5
        read = Record.from_json(json.dumps(values))
        written[read.text] = read
    assert written[rows[10]["text"]] == record
    assert written[rows[41]["text"]].source == f"{path}:42"


def test_sound_labels_leave_an_empty_file(write, tmp_path):
    found = find_label_errors([write("posts.jsonl", posts(90))], Columns(), tmp_path / "out.jsonl")
    assert found.rows == ()
    assert (tmp_path / "out.jsonl").read_text("utf-8") == ""


def test_broken_and_doubled_rows_are_passed_over(write, tmp_path):
    rows = mislabel(posts(240))
    path = write("posts.jsonl", [*rows, {"text": ""}, {"text": "好", "label": "spam"}, rows[10]])
    found = find_label_errors([path], Columns(), tmp_path / "out.jsonl")
    assert found.texts == 240
    assert len(found.rows) == len(WRONG)


def test_files_of_two_labels_are_judged_between_these(write, tmp_path):
    rows = posts(120, (Label.COMPLIANT, Label.VIOLATION))
    rows[7]["label"] = "compliant"
    (suspect,) = find_label_errors([write("posts.jsonl", rows)], Columns(), tmp_path / "out.jsonl").rows
    assert (suspect.place.line, suspect.suggested) == (8, "violation")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [*posts(60, (Label.COMPLIANT, Label.VIOLATION)), *posts(12)[1 : 3 * (FOLDS - 1) : 3]],
            "only 4 different texts are suspicious, and each of 5",
        ),
        (posts(60, (Label.COMPLIANT,)), "the usable rows have fewer than two labels"),
        ([], "the usable rows have fewer than two labels"),
    ],
)
def test_too_few_rows_to_judge_one_by_the_others_are_refused(rows, reason, write, tmp_path):
    with pytest.raises(DataError, match=reason):
        find_label_errors([write("posts.jsonl", rows)], Columns(), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_doctor_names_the_places_and_shows_no_text(more, write, tmp_path, capsys):
    rows = mislabel(posts(240))
    path = write("posts.jsonl", rows)
    assert main(["doctor", str(path), "--label-errors", str(tmp_path / "out.jsonl"), *more]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert not any(row["text"] in said.out for row in rows)
    if more:
        found = json.loads(said.out)["label_errors"]
        assert {row["line"] - 1 for row in found["rows"]} == set(WRONG)
        assert found["texts"] == 240
    else:
        assert f"3 of 240 different texts, written to {tmp_path}/out.jsonl:" in said.out
        assert all(f"| {path}:{number + 1} " in said.out for number in WRONG)
