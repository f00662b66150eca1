import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.terminal import EXAMPLES
from tests.tiny_model import DOUBTFUL, VIOLATING
from training.__main__ import main
from training.predict import Answer, show

TEXTS = {"今天天气真好": "compliant", f"{DOUBTFUL}有消息": "suspicious", f"来{VIOLATING[0]}一把": "violation"}
FILES = {
    "posts.jsonl": "".join(json.dumps({"id": "a", "text": text, "label": "合规"}, ensure_ascii=False) + "\n" for text in TEXTS),
    "posts.csv": "id,text\n" + "".join(f"a,{text}\n" for text in TEXTS),
    "posts.tsv": "content\tid\n" + "".join(f"{text}\ta\n" for text in TEXTS),
    "posts.txt": "\n\n".join(TEXTS) + "\n",
}
thirds = st.tuples(*[st.floats(0.01, 1)] * 3).map(lambda weights: tuple(weight / sum(weights) for weight in weights))


@pytest.fixture
def predict(tiny_bundle, capsys):
    def asked(*arguments, model=tiny_bundle.path):
        status = main(["predict", str(model), *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return asked


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return to


def answers(out):
    return [json.loads(line) for line in out.splitlines()]


def test_each_text_is_answered_in_both_languages(predict):
    status, out, _ = predict(*TEXTS)
    assert status == 0
    headings = [line.partition(" · ")[0] for line in out.splitlines() if "置信度 confidence" in line]
    assert headings == ["合规 compliant", "疑似 suspicious", "违规 violation"]


def test_options_may_stand_before_and_behind_the_texts(predict):
    text = next(iter(TEXTS))
    assert predict("--json", text)[1] == predict(text, "--json")[1]


def test_json_says_what_the_server_would(predict, classifier):
    text = f"来{VIOLATING[0]}一把"
    answer = answers(predict(text, "--json")[1])[0]
    assert (answer["text"], answer["predicted"]["model"]) == (text, "tiny-1")
    assert list(answer["predicted"]["probabilities"].values()) == classifier.score(text).probabilities.tolist()
    assert (answer["predicted"]["label"], answer["predicted"]["label_id"]) == ("violation", 2)


def test_the_demo_answers_every_example(predict):
    status, out, _ = predict("--demo")
    assert status == 0
    assert all(f"{text}\n" in out for text in EXAMPLES)


def test_a_pipe_is_answered_line_by_line(predict, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join([*TEXTS, ""]).encode()), encoding="utf-8"))
    status, out, _ = predict()
    assert status == 0
    assert "第 3 行 / line 3\n违规 violation" in out


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_any_shape_comes_back_with_its_rows_answered(name, predict, write):
    status, out, _ = predict("--file", write(name, FILES[name]))
    rows = answers(out)
    assert status == 0
    assert [row.get("text", row.get("content")) for row in rows] == list(TEXTS)
    assert [row["predicted"]["label"] for row in rows] == list(TEXTS.values())
    if name == "posts.jsonl":
        assert [(row["id"], row["label"]) for row in rows] == [("a", "合规")] * 3  # the row's own label stays


def test_a_row_that_can_not_be_judged_carries_its_error_and_spoils_no_other(predict, write):
    path = write("posts.jsonl", '{"text": "好"}\n{"text": "\u200b"}\nno JSON\n{"body": "好"}\n{"text": "疑"}\n')
    status, out, _ = predict("--file", path)
    rows = answers(out)
    assert status == 1
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5]
    assert ["predicted" in row for row in rows] == [True, False, False, False, True]
    assert [row["error"].partition(":")[0] for row in rows[1:4]] == ["the text is empty", "not JSON (Expecting value)", "no text"]


def test_out_holds_every_line_and_is_never_written_over(predict, write, tmp_path):
    path, out = write("posts.csv", FILES["posts.csv"]), tmp_path / "judged.jsonl"
    printed = predict("--file", path)[1]
    assert predict("--file", path, "--out", out) == (0, "", "")
    assert out.read_text("utf-8") == printed
    status, _, err = predict("--file", path, "--out", out)
    assert (status, err) == (2, f"training: --out {out} exists already: choose another name, or remove it\n")


def test_other_columns_are_read(predict, write):
    path = write("posts.csv", FILES["posts.csv"].replace("id,text", "id,body"))
    assert predict("--file", path, "--text-column", "body")[0] == 0


def test_an_empty_text_is_1(predict):
    assert predict("") == (1, "", "the text is empty\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["好", "--demo"], "give TEXT, --file or --demo: one of them"),
        (["好", "--out", "x"], "--out is for the answers to --file"),
        (["好", "--base", "x"], "has no base to put it on: leave --base out"),
        (["好", "--base", "x", "--adapter", "y"], "with --adapter the base is WHAT: leave --base out"),
        (["--file", "nowhere.txt"], "nowhere.txt: can't be read (No such file or directory)"),
        (["--file", "nowhere.jsonl"], "nowhere.jsonl: can't be read (No such file or directory)"),
    ],
)
def test_wrong_use_is_2_and_says_what_to_change(arguments, reason, predict):
    status, out, err = predict(*arguments)
    assert (status, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_what_is_no_model_is_refused(predict, tmp_path):
    status, _, err = predict("好", model=tmp_path)
    assert status == 2
    assert err.startswith(f"training: {tmp_path} is nothing that we know")


@given(thirds)
def test_the_answer_is_the_likeliest_label(probabilities):
    answer = Answer("some", probabilities)
    assert probabilities[answer.label] == max(probabilities) == answer.as_dict()["confidence"]


@given(st.lists(thirds, min_size=2, max_size=4))
def test_several_models_stand_below_each_other(each):
    lines = show([Answer(f"model {number}", probabilities) for number, probabilities in enumerate(each)], in_colour=False).splitlines()
    assert len(lines) == len(each)
    for number, (line, probabilities) in enumerate(zip(lines, each, strict=True)):
        assert line.startswith(f"  model {number}  ")
        assert all(f"{label.chinese} {label.english} {probabilities[label]:>6.1%}" in line for label in Label)
