import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.contract.text import normalise, text_id
from tests.strategies import any_text
from training.dataset import Columns, DataError, Example, class_weights, deduplicate, digest, read_benign, read_examples, split, without

few_texts = st.text("赌博彩票好", min_size=1, max_size=3)
examples = st.lists(st.builds(Example, few_texts, st.sampled_from(Label), st.just("f.jsonl"), st.integers(1, 99)))
every_label = examples.map(lambda some: [*some, *(Example("好", label, "f.jsonl", 1) for label in Label)])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def jsonl(folder, *rows):
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path, columns=None):
    return [(example.text, example.label, example.line) for example in read_examples([path], columns or Columns())]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "来赌一把", "label": "violation"},
        {"text": "来赌一把", "label": 2, "extra": [1]},
        {"text": "来赌一把", "label": "2"},
        {"content": "来赌一把", "label": "违规"},
        {"instruction": "来赌一把", "input": "", "output": "violation"},
        {"instruction": "", "input": "来赌一把", "output": "不通过"},
        {"conversations": [{"from": "human", "value": "来赌一把"}, {"from": "gpt", "value": "block"}]},
        {
            "conversations": [
                {"from": "system", "value": "你是审核员"},
                {"from": "gpt", "value": "违规"},
                {"from": "human", "value": "来赌一把"},
                {"from": "human", "value": "今天天气真好"},
                {"from": "gpt", "value": "合规"},
            ]
        },
    ],
)
def test_every_documented_shape_is_read(row, tmp_path):
    assert read(jsonl(tmp_path, row)) == [("来赌一把", Label.VIOLATION, 1)]


def test_an_alpaca_instruction_stands_before_its_input(tmp_path):
    assert read(jsonl(tmp_path, {"instruction": "判断", "input": "好", "output": 0})) == [("判断 好", Label.COMPLIANT, 1)]


def test_one_file_may_mix_shapes_and_hold_blank_lines(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text('\ufeff{"text": "一", "label": 0}\n\n  \n{"content": "二", "label": 1}\n', encoding="utf-8")
    assert read(path) == [("一", Label.COMPLIANT, 1), ("二", Label.SUSPICIOUS, 4)]


def test_a_csv_file_is_read_by_its_header_and_may_quote(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text('\ufeffid,text,label\r\n1,"第一,""行""\n第二行",合规\r\n2,好,1\r\n', encoding="utf-8")
    assert read(path) == [(normalise('第一,"行"\n第二行').text, Label.COMPLIANT, 3), ("好", Label.SUSPICIOUS, 4)]


def test_a_tsv_file_is_read_by_its_header_and_a_quote_is_a_character(tmp_path):
    path = tmp_path / "posts.tsv"
    path.write_text('\ufefflabel\ttext\n合规\t"你好"她说\n1\t"好\n', encoding="utf-8")
    assert read(path) == [('"你好"她说', Label.COMPLIANT, 2), ('"好', Label.SUSPICIOUS, 3)]


def test_a_table_may_be_of_an_instruction_shape(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text("instruction,input,output\n来赌一把,,2\n", encoding="utf-8")
    assert read(path) == [("来赌一把", Label.VIOLATION, 2)]


def test_columns_may_have_other_names(tmp_path):
    path = jsonl(tmp_path, {"body": "好", "verdict": "pass"})
    assert read(path, Columns(text="body", label="verdict")) == [("好", Label.COMPLIANT, 1)]


def test_files_keep_their_order_and_say_where_a_text_stands(tmp_path):
    (tmp_path / "b").mkdir()
    first, second = jsonl(tmp_path, {"text": "一", "label": 0}), jsonl(tmp_path / "b", {"text": "二", "label": 0})
    assert [(example.file, example.line) for example in read_examples([second, first])] == [(str(second), 1), (str(first), 1)]


def test_texts_are_normalised_as_in_serving(tmp_path):
    assert read(jsonl(tmp_path, {"text": " ＤＵ\u200b赌  博 ", "label": 2})) == [("du赌 博", Label.VIOLATION, 1)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": 0}, "no text: wanted a text under 'text' or 'content', the row has ['label']"),
        ({"text": 5, "label": 0}, "no text"),
        ({"text": None, "label": 0}, "no text"),
        ({"text": "好"}, "no label: wanted 'label', the row has ['text']"),
        ({"text": "好", "label": None}, "no label"),
        ({"text": "好", "label": "垃圾"}, "unknown label '垃圾'"),
        ({"text": "好", "label": 3}, "unknown label 3"),
        ({"text": "好", "label": True}, "unknown label True"),
        ({"text": "好", "label": ""}, "unknown label ''"),
        ({"text": " \u200b", "label": 0}, "the text is empty"),
        ({"instruction": "", "input": "", "output": 0}, "the text is empty"),
        ({"instruction": "好"}, "no label"),
        ({"conversations": "好"}, "conversations must be a list of turns"),
        ({"conversations": []}, "conversations have no human turn"),
        ({"conversations": [{"from": "human", "value": "好"}]}, "conversations have no gpt turn"),
        ({"conversations": [{"from": "human", "value": 5}, "?"]}, "conversations have no human turn"),
    ],
)
def test_an_unusable_row_is_refused_with_file_line_and_reason(row, reason, tmp_path):
    path = jsonl(tmp_path, {"text": "好", "label": 0}, row)
    with pytest.raises(DataError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}:2: {reason}")


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("posts.jsonl", '{"text": "好", "label": 0}\n{"text": \n', ":2: not JSON"),
        ("posts.jsonl", "[]\n", ":1: must be an object, got list"),
        ("posts.jsonl", '{"text": "好", "label": ' + "1" * 5000 + "}\n", ":1: "),
        ("posts.csv", "text,label\n好,0\n好\n", ":3: has another number of columns than the header"),
        ("posts.csv", "text,label\n好,0,1\n", ":2: has another number of columns than the header"),
        ("posts.csv", 'text,label\n"好"!,0\n', ":2: "),
        ("posts.tsv", "text\tlabel\n好\t不知道\n", ":2: unknown label '不知道'"),
        ("posts.tsv", "text\tlabel\n\t0\n", ":2: the text is empty"),
        ("posts.txt", "好", ": the name must end in .jsonl, .csv, .tsv"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(name, content, where, tmp_path):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}{where}")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv: can't be read \(No such file"):
        read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("before", [0, 5_000])  # rows, more than a decoder's buffer
def test_a_line_that_is_not_utf8_is_refused_by_its_number(before, tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b'{"text": "ok", "label": 0}\n' * before + b"\xff\n")
    with pytest.raises(DataError, match=rf"posts\.jsonl:{before + 1}: not UTF-8"):
        read(path)


@given(some=st.lists(st.tuples(any_text, st.sampled_from(Label)), max_size=5))
def test_whatever_can_be_written_is_read_back_normalised_or_refused_as_empty(some, scratch):
    path = scratch / "posts.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label.chinese}) + "\n" for text, label in some), encoding="utf-8")
    if all(normalise(text).text for text, _ in some):
        assert [(text, label) for text, label, _ in read(path)] == [(normalise(text).text, label) for text, label in some]
    else:
        with pytest.raises(DataError, match="the text is empty"):
            read(path)


@pytest.mark.parametrize(
    "row",
    [
        {"text": "今天天气真好"},
        {"content": "今天天气真好", "label": "违规"},
        {"instruction": "今天天气真好"},
        {"instruction": "今天天气真好", "output": "违规"},
        {"conversations": [{"from": "human", "value": "今天天气真好"}]},
    ],
)
def test_benign_texts_are_compliant_whatever_their_label(row, tmp_path):
    assert [(example.text, example.label) for example in read_benign([jsonl(tmp_path, row)])] == [("今天天气真好", Label.COMPLIANT)]


def test_of_many_benign_texts_the_same_few_are_kept_whatever_their_order(tmp_path):
    rows = [{"text": f"第{number}条"} for number in range(30)]
    kept = [example.text for example in read_benign([jsonl(tmp_path, *rows, rows[0])], most=10)]
    assert len(set(kept)) == 10
    assert [example.text for example in read_benign([jsonl(tmp_path, *reversed(rows))], most=10)] == kept


@given(examples)
def test_deduplication_keeps_each_text_once_in_order(some):
    kept = deduplicate(some)
    assert [example.text for example in kept] == list(dict.fromkeys(example.text for example in some))
    assert all(example in some for example in kept)
    assert deduplicate(kept) == kept


@given(examples)
def test_conflicting_labels_are_settled_by_the_majority_and_ties_by_severity(some):
    for kept in deduplicate(some):
        counts = Counter(example.label for example in some if example.text == kept.text)
        assert kept.label == max(label for label in counts if counts[label] == max(counts.values()))


def labelled(label, day, *, annotators=("甲",)):
    return {"text": "帖子", "label": label, "annotators": list(annotators), "created_at": f"2026-11-{day}T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("rows", "label"),
    [
        ([labelled(2, 22), labelled(2, 23), labelled(0, 24)], Label.COMPLIANT),
        ([labelled(0, 24), labelled(2, 22), labelled(2, 23)], Label.COMPLIANT),
        ([{"text": "帖子", "label": 2}, {"text": "帖子", "label": 2}, labelled(0, 22)], Label.COMPLIANT),
        ([labelled(2, 30, annotators=()), labelled(0, 22)], Label.COMPLIANT),  # nobody says that it is right
        ([labelled(1, 24), labelled(2, 24), labelled(0, 22)], Label.VIOLATION),
    ],
)
def test_what_annotators_said_last_replaces_what_was_said_before(rows, label, scratch):
    assert [example.label for example in deduplicate(read_examples([jsonl(scratch, *rows)]))] == [label]


@given(examples, examples)
def test_no_held_out_text_stays_in_training(some, held_out):
    kept = without(some, held_out)
    texts = {example.text for example in held_out}
    assert kept == [example for example in some if example.text not in texts]


@given(examples, st.floats(0, 1), st.floats(0, 1))
def test_a_text_always_falls_on_the_same_side(some, share, other_share):
    train, validation = split(some, share)
    assert sorted(map(repr, train + validation)) == sorted(map(repr, some))
    assert not {example.text for example in train} & {example.text for example in validation}
    assert split(train, share) == (train, [])
    small, large = sorted((share, other_share))
    assert set(split(some, small)[1]) <= set(split(some, large)[1])


def test_the_share_is_about_what_was_asked():
    some = [Example(f"第{number}条", Label.COMPLIANT, "f", 1) for number in range(2000)]
    assert 150 <= len(split(some, 0.1)[1]) <= 250


@given(every_label)
def test_class_weights_give_every_label_the_same_say(some):
    counts = Counter(example.label for example in some)
    weights = class_weights(some)
    assert [counts[label] * weights[label] for label in Label] == pytest.approx([len(some) / 3] * 3)


@pytest.mark.parametrize("absent", list(Label))
def test_a_label_without_examples_has_no_weight(absent):
    with pytest.raises(DataError, match=f"no training example is {absent.english}"):
        class_weights(Example("好", label, "f", 1) for label in Label if label != absent)


@given(examples, st.randoms())
def test_a_digest_ignores_order_and_place(some, random):
    shuffled = [Example(example.text, example.label, "g", 7) for example in random.sample(some, len(some))]
    assert digest(shuffled) == digest(some)


@given(examples, examples)
def test_a_digest_tells_any_other_texts_or_labels(some, others):
    same = Counter((example.text, example.label) for example in some) == Counter((example.text, example.label) for example in others)
    assert (digest(some) == digest(others)) is same


def test_an_example_has_the_id_of_its_annotation():
    assert Example("赌博", Label.VIOLATION, "f", 1).id == text_id("赌\u200b博")


def test_a_foreign_label_means_what_the_config_says(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "好", "label": "positive"}\n{"text": "坏", "label": "violation"}\n', encoding="utf-8")
    names = {"positive": Label.COMPLIANT}
    assert [row[1] for row in read(path, Columns(label_names=names))] == [Label.COMPLIANT, Label.VIOLATION]
    with pytest.raises(DataError, match=r"reviews\.jsonl:1: unknown label 'positive'"):
        read(path)
