import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semantic_service.contract.labels import LABEL_NAMES, Label
from tests.strategies import any_text
from training.dataset import Columns, read_examples
from training.diagnosis import Diagnosis, Flaw, Lengths, Occurrence, to_markdown
from training.doctor import examine
from training.errors import DataError
from training.tables import markdown_table

SECRET = "没有人应该看到的帖子"
EVERY_LABEL = [{"text": f"{label.chinese}的帖子", "label": label.english} for label in Label]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def look(*paths, columns=None):
    return examine(paths, columns or Columns())


def everything_said(diagnosis):
    return to_markdown(diagnosis) + json.dumps(diagnosis.as_dict(), ensure_ascii=False)


def test_sound_files_have_nothing_to_report(tmp_path):
    diagnosis = look(jsonl(tmp_path / "posts.jsonl", *EVERY_LABEL))
    assert (diagnosis.problems, diagnosis.warnings) == ((), ())
    assert to_markdown(diagnosis).count("None.") == 2


def test_rows_are_counted_by_label_in_each_file_and_together(tmp_path):
    first = jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, {"text": "好", "label": 0})
    second = jsonl(tmp_path / "b.jsonl", {"text": "很好", "label": "正常"})
    diagnosis = look(first, second)
    assert [report.counts for report in diagnosis.files] == [
        {"compliant": 2, "suspicious": 1, "violation": 1},
        {"compliant": 1, "suspicious": 0, "violation": 0},
    ]
    assert diagnosis.files[0].shares == {"compliant": 0.5, "suspicious": 0.25, "violation": 0.25}
    assert diagnosis.counts == {"compliant": 3, "suspicious": 1, "violation": 1}
    assert "3 (60.0%)" in to_markdown(diagnosis)


def test_lengths_are_of_the_normalised_texts(tmp_path):
    rows = [{"text": "好" + "abcdefghij" * number, "label": 0} for number in range(100)]
    diagnosis = look(jsonl(tmp_path / "a.jsonl", *rows, {"text": "  好" + "\u200b" * 5000 + "好" * 3000, "label": 0}))
    assert diagnosis.files[0].lengths == Lengths(p50=491, p90=891, p99=981, max=991)


def test_a_file_without_usable_rows_has_no_lengths(tmp_path):
    diagnosis = look(jsonl(tmp_path / "a.jsonl", {"text": "", "label": 0}))
    assert diagnosis.files[0].lengths is None
    assert f"{tmp_path}/a.jsonl: has no usable row" in diagnosis.problems


BROKEN_JSONL = (
    '{"text": "一", "label": 0}\n{"text": \n[]\n\n{"text": "二", "label": 9}\n{"label": 1}\n'
    '{"text": " ", "label": 1}\n{"text": "三", "label": 2}\n'
)
BROKEN_CSV = 'text,label\n一,0\n二\n"三"!,1\n\n四,9\n," 1"\n五,1\n六,2\n'
BROKEN_TSV = 'text\tlabel\n一\t0\n二\n"三\t9\n\t1\n四\t2\n'
UNCLOSED_CSV = 'text,label\n一,0\n"二,1\n三,2\n四,0\n'
CLOSED_TOO_LATE_CSV = 'text,label\n一,0\n"二,1\n三,2\n"四",0\n五,2\n'


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.jsonl", BROKEN_JSONL, ([2, 3, 5, 6], [7], 2)),
        ("a.csv", BROKEN_CSV, ([3, 4, 6], [7], 3)),
        ("a.tsv", BROKEN_TSV, ([3, 4], [5], 2)),
        ("a.csv", UNCLOSED_CSV, ([3], [], 3)),
        ("a.csv", CLOSED_TOO_LATE_CSV, ([3], [], 4)),
        ("a.jsonl", '{"text": "好", "label": ' + "1" * 5000 + '}\n{"text": "好", "label": 1}\n', ([1], [], 1)),
        ("a.jsonl", "[" * 100_000 + '\n{"text": "好", "label": 1}\n', ([1], [], 1)),
        ("a.csv", '"text"!,label\n一,0\n', ([1], [], 0)),
        ("a.csv", "", ([], [], 0)),
    ],
)
def test_a_broken_row_hides_no_other(name, content, found, tmp_path):
    broken, empty, usable = found
    (tmp_path / name).write_text(content, encoding="utf-8")
    (report,) = look(tmp_path / name).files
    assert [flaw.line for flaw in report.broken] == broken
    assert list(report.empty) == empty
    assert sum(report.counts.values()) == usable
    assert all(f"{tmp_path}/{name}:{line}" in "".join(look(tmp_path / name).problems) for line in broken + empty)


def test_a_line_in_another_encoding_hides_no_other(tmp_path):
    for path, first in ((tmp_path / "a.jsonl", b""), (tmp_path / "a.csv", b"text,label\n")):
        rows = ['{"text": "好", "label": 0}', '{"text": "坏", "label": 2}'] if path.suffix == ".jsonl" else ["好,0", "坏,2"]
        path.write_bytes(first + rows[0].encode("gb18030") + b"\n" + rows[1].encode() + b"\n")
        (report,) = look(path).files
        assert [flaw.line for flaw in report.broken] == [2 if first else 1]
        assert "save the file as UTF-8" in report.broken[0].reason
        assert report.counts["violation"] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere.jsonl", "can't be read (No such file or directory)"), ("posts.xlsx", "the name must end in .jsonl, .csv, .tsv")],
)
def test_an_unreadable_file_hides_no_other(name, reason, tmp_path):
    diagnosis = look(tmp_path / name, jsonl(tmp_path / "a.jsonl", *EVERY_LABEL))
    assert diagnosis.files[0].broken == (Flaw(None, reason),)
    assert diagnosis.files[0].rows == 0
    assert f"{tmp_path / name}: {reason}" in diagnosis.problems
    assert diagnosis.files[1].rows == 3


def test_rows_with_the_same_flaw_share_one_problem_but_all_are_listed(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, *({"text": "好", "label": "spam"} for _ in range(50)))
    diagnosis = look(path)
    assert len(diagnosis.problems) == 1
    assert diagnosis.problems[0].startswith(f"{path}:4, {path}:5, {path}:6 and 47 more: unknown label 'spam': use compliant")
    assert [flaw["line"] for flaw in diagnosis.as_dict()["files"][0]["broken"]] == list(range(4, 54))


def test_equal_texts_are_found_after_normalising(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl", *EVERY_LABEL, {"text": "ＡＢ", "label": 0}, {"text": "a\u200bb ", "label": 0}, {"text": "ab", "label": 0}
    )
    diagnosis = look(path)
    assert diagnosis.files[0].doubled == (5, 6)
    assert diagnosis.problems == ()
    assert diagnosis.warnings == (f"{path}: 2 doubled (line 5, 6): training keeps one row of each text",)


def test_a_text_with_several_labels_is_a_conflict_within_a_file_and_across(tmp_path):
    first = jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, {"text": "滚", "label": 1}, {"text": "滚", "label": 2})
    second = jsonl(tmp_path / "b.jsonl", {"text": "合规的帖子", "label": 2})
    diagnosis = look(first, second)
    assert set(diagnosis.conflicts) == {
        (Occurrence(str(first), 4, "suspicious"), Occurrence(str(first), 5, "violation")),
        (Occurrence(str(first), 1, "compliant"), Occurrence(str(second), 1, "violation")),
    }
    assert any(f"{first}:4 suspicious = {first}:5 violation" in problem for problem in diagnosis.problems)


def test_a_newer_label_of_annotators_contradicts_no_older_one(tmp_path):
    dated = [{"text": "滚", "label": label, "annotators": ["甲"], "created_at": f"2026-11-2{label}T00:00:00+00:00"} for label in (1, 2)]
    assert look(jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, {"text": "滚", "label": 0}, *dated)).conflicts == ()
    twins = [dated[0], dated[0] | {"label": 2}]
    assert len(look(jsonl(tmp_path / "b.jsonl", *EVERY_LABEL, *twins)).conflicts) == 1


def test_a_text_in_two_files_is_a_leak_between_each_two(tmp_path):
    paths = [jsonl(tmp_path / f"{name}.jsonl", *EVERY_LABEL[: index + 1], EVERY_LABEL[0]) for index, name in enumerate("abc")]
    diagnosis = look(*paths)
    a, b, c = map(str, paths)
    assert {files: len(shared) for files, shared in diagnosis.leaks.items()} == {(a, b): 1, (a, c): 1, (b, c): 2}
    assert any(f"texts in both {b} and {c}: 2 ({b}:1 = {c}:1, {b}:2 = {c}:2)" in problem for problem in diagnosis.problems)


def test_texts_of_two_files_that_differ_in_signs_alone_nearly_leak(tmp_path):
    first = jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, {"text": "加我微信领红包123", "label": 2}, {"text": "加我微信！领红包9", "label": 2})
    second = jsonl(tmp_path / "b.jsonl", {"text": "加我微信，领红包😀 456", "label": 2}, {"text": "合规的帖子！", "label": 0})
    diagnosis = look(first, second)
    assert diagnosis.problems == ()
    assert diagnosis.near_leaks == {
        (str(first), str(second)): [(Occurrence(str(first), 4, "violation"), Occurrence(str(second), 1, "violation"))]
    }
    assert f"emoji alone: 1 ({first}:4 ~ {second}:1)" in diagnosis.warnings[-1]


def test_a_text_that_leaks_as_it_stands_is_told_once(tmp_path):
    first = jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, {"text": "加我微信领红包", "label": 2})
    second = jsonl(tmp_path / "b.jsonl", {"text": "加我微信领红包", "label": 2}, {"text": "加我微信领红包!", "label": 2})
    diagnosis = look(first, second)
    assert len(diagnosis.problems) == 1
    assert diagnosis.near_leaks == {}


def test_a_file_named_twice_does_not_leak_into_itself(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", *EVERY_LABEL)
    assert look(path, path) == look(path)


@pytest.mark.parametrize("absent", list(Label))
def test_a_label_without_a_row_is_a_problem(absent, tmp_path):
    diagnosis = look(jsonl(tmp_path / "a.jsonl", *(row for row in EVERY_LABEL if row["label"] != absent.english)))
    assert len(diagnosis.problems) == 1
    assert diagnosis.problems[0].startswith(f"no row is {absent.english}: ")


@pytest.mark.parametrize(("rows", "is_small"), [(98, False), (99, True)])
def test_a_label_below_two_percent_is_a_warning(rows, is_small, tmp_path):
    # of 100 rows, then of 101, 2 are violations
    some = [{"text": f"第{number}条", "label": number % 2} for number in range(rows)] + [
        {"text": f"坏{number}", "label": 2} for number in range(2)
    ]
    diagnosis = look(jsonl(tmp_path / "a.jsonl", *some))
    assert diagnosis.problems == ()
    assert ["of the rows are violation" in warning for warning in diagnosis.warnings] == [True] * is_small


def test_columns_may_have_other_names(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"正文": "好", "标签": "合规"})
    assert look(path, columns=Columns("正文", "标签")).files[0].counts["compliant"] == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps({"text": "violation", "label": SECRET})),
        ("a.jsonl", json.dumps({SECRET: "text"})),
        ("a.jsonl", json.dumps({"text": SECRET, "label": [SECRET]}) + "\n" + json.dumps(SECRET)),
        ("a.jsonl", f'{{"text": "{SECRET}'),
        ("a.jsonl", json.dumps({"conversations": [{"from": "human", "value": SECRET}, {"from": "gpt", "value": SECRET}]})),
        ("a.csv", f"{SECRET},violation\n{SECRET},violation\n"),
        ("a.csv", f'text,label\n"{SECRET}"{SECRET},1\n{SECRET},1,{SECRET}\n{SECRET}'),
        ("a.csv", f"text,label\n{SECRET},0\n{SECRET},1\n{SECRET},1\n"),
    ],
)
def test_no_text_of_the_files_is_ever_shown(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    diagnosis = look(tmp_path / name)
    assert diagnosis.problems
    assert SECRET not in everything_said(diagnosis)
    assert SECRET not in repr(diagnosis)


def test_a_column_that_is_surely_a_name_is_shown(tmp_path):
    diagnosis = look(jsonl(tmp_path / "a.jsonl", {"body": "好", "label": 0}))
    assert "the row has ['body', 'label']" in diagnosis.problems[0]


CELLS = st.text(st.sampled_from('好a ",\n\r\t\u200b[{0'), max_size=4)


@given(
    name=st.sampled_from(("a.jsonl", "a.csv", "a.tsv")),
    rows=st.lists(st.lists(CELLS | st.sampled_from("012"), min_size=1, max_size=3), max_size=4),
)
@example(name="a.csv", rows=[['"', "0"], ["好", "1"]])
def test_the_doctor_finds_fault_with_just_the_files_that_training_refuses(name, rows, scratch):
    path = scratch / name
    separator = {"a.csv": ",", "a.tsv": "\t", "a.jsonl": ","}[name]
    header = "" if name == "a.jsonl" else f"text{separator}label\n"
    path.write_text(header + "".join(separator.join(row) + "\n" for row in rows), encoding="utf-8", newline="")
    (report,) = look(path).files
    try:
        assert sum(report.counts.values()) == len(read_examples([path]))
        assert not report.broken + report.empty
    except DataError:
        assert report.broken + report.empty


@given(some=st.lists(st.tuples(any_text, st.sampled_from(Label)), max_size=6))
def test_what_training_reads_is_what_the_doctor_counts(some, scratch):
    path = jsonl(
        scratch / "posts.jsonl", *({"text": text.encode("utf-8", "replace").decode(), "label": int(label)} for text, label in some)
    )
    (report,) = look(path).files
    assert report.rows == len(some) == sum(report.counts.values()) + len(report.empty)
    if not report.empty:
        read = read_examples([path])
        assert report.counts == {name: sum(row.label.english == name for row in read) for name in LABEL_NAMES}
        assert len(report.doubled) == len(read) - len({row.text for row in read})


def test_the_table_lines_up_on_a_terminal():
    table = markdown_table(["file", "rows"], [["a", "1"], ["long.jsonl", "12345"]])
    assert table.splitlines() == ["| file       |  rows |", "| ---------- | ----: |", "| a          |     1 |", "| long.jsonl | 12345 |"]


def test_no_files_are_no_diagnosis_of_health():
    assert examine([], Columns()) == Diagnosis((), (), ())
    assert len(Diagnosis((), (), ()).problems) == 3


def test_the_diagnosis_is_plain_json(tmp_path):
    diagnosis = look(jsonl(tmp_path / "a.jsonl", *EVERY_LABEL, EVERY_LABEL[0]), Path("nowhere.csv"))
    values = json.loads(json.dumps(diagnosis.as_dict()))
    assert values["problems"] == list(diagnosis.problems)
    assert values["counts"] == diagnosis.counts
    assert [report["file"] for report in values["files"]] == [str(tmp_path / "a.jsonl"), "nowhere.csv"]
