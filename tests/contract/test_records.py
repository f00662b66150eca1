import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record, RecordError
from semantic_service.contract.text import text_id
from tests.strategies import any_text

LINE = Record("来赌一把", Label.VIOLATION, "label-studio", ("anna", "bo"), "2026-01-02T03:04:05+00:00").to_json()
records = st.builds(
    Record,
    text=any_text,
    label=st.sampled_from(Label),
    source=st.text(),
    annotators=st.lists(st.text(), max_size=3).map(tuple),
    created_at=st.text(),
    model_version=st.none() | st.text(),
    confidence=st.none() | st.floats(0, 1),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def changed(**values):
    return json.dumps(json.loads(LINE) | values)


@given(records)
def test_a_record_survives_its_line(record):
    assert Record.from_json(record.to_json()) == record


@given(records)
def test_a_record_is_one_line(record):
    assert not set("\r\n") & set(record.to_json())


@given(records)
@example(Record("\ud83d", Label.COMPLIANT, "test", (), ""))
@example(Record("\ud83d\ude00", Label.COMPLIANT, "test", (), ""))
def test_a_record_can_be_written_as_utf8_whatever_its_text(record):
    assert Record.from_json(record.to_json().encode("utf-8").decode("utf-8")) == record


@given(any_text)
def test_texts_that_look_alike_share_an_id(text):
    plain, hidden = (Record(form, Label.COMPLIANT, "test", (), "") for form in (text, f" {text}\u200b"))
    assert plain.id == hidden.id == text_id(text)


def test_the_line_reads_as_documented():
    record = Record("来赌一把", Label.VIOLATION, "pull", ("anna",), "2026-01-02T03:04:05+00:00", "e5-1", 0.5)
    assert json.loads(record.to_json()) == {
        "id": text_id("来赌一把"),
        "text": "来赌一把",
        "label": "violation",
        "source": "pull",
        "annotators": ["anna"],
        "created_at": "2026-01-02T03:04:05+00:00",
        "model_version": "e5-1",
        "confidence": 0.5,
    }


def test_absent_values_are_left_out():
    assert not {"model_version", "confidence"} & set(json.loads(LINE))


@pytest.mark.parametrize("spelling", ["违规", "block", 2, "2"])
def test_a_label_may_be_an_alias(spelling):
    assert Record.from_json(changed(label=spelling)).label is Label.VIOLATION


@given(st.text() | json_values.map(json.dumps))
def test_any_other_line_is_refused(line):
    with pytest.raises(RecordError):
        Record.from_json(line)


@pytest.mark.parametrize("line", ["", "{", "[]", "null", "3", '"text"', "{}"])
def test_a_line_that_is_no_object_is_refused_in_words(line):
    with pytest.raises(RecordError, match="not a record"):
        Record.from_json(line)


@pytest.mark.parametrize("key", ["id", "text", "label", "source", "annotators", "created_at"])
def test_a_missing_key_is_named(key):
    values = json.loads(LINE)
    del values[key]
    with pytest.raises(RecordError, match=key):
        Record.from_json(json.dumps(values))


def test_an_unknown_key_is_named():
    with pytest.raises(RecordError, match="comment"):
        Record.from_json(changed(comment="?"))


@pytest.mark.parametrize("label", ["垃圾", None, True, 3, 1.0, []])
def test_an_unknown_label_is_refused(label):
    with pytest.raises(RecordError, match="unknown label"):
        Record.from_json(changed(label=label))


def test_an_id_of_another_text_is_refused():
    with pytest.raises(RecordError, match=f"id is '0000000000000000', but this text's is '{text_id('来赌一把')}'"):
        Record.from_json(changed(id="0" * 16))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text", 5),
        ("source", 5),
        ("annotators", 5),
        ("annotators", "anna"),
        ("annotators", [1]),
        ("created_at", 7),
        ("model_version", 3),
        ("confidence", "high"),
    ],
)
def test_a_value_of_another_type_is_refused(key, value):
    with pytest.raises(RecordError):
        Record.from_json(changed(**{key: value}))


def test_a_number_too_long_to_read_is_refused():
    with pytest.raises(RecordError):
        Record.from_json('{"id": ' + "1" * 5000 + "}")
