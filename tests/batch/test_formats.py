import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semantic_service.batch.errors import BatchError
from semantic_service.batch.job import Reading
from semantic_service.batch.jsonl import JsonlLayout, JsonlTable
from semantic_service.batch.lines import MAX_ROW_BYTES
from semantic_service.batch.scoring import score
from semantic_service.batch.tables import JUDGEMENT_COLUMNS, PART_BYTES, PART_ROWS
from semantic_service.batch.tsv import Dialect
from tests.dumps import TEXT, score_dump

names = st.sampled_from(["text", "id", "label", "input_label", "错误", "error"])
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
rows = st.dictionaries(names, values, max_size=5) | st.fixed_dictionaries({"text": st.text(max_size=5)})


def scored_lines(content, moderator, **layout):
    table = JsonlTable(io.BytesIO(content), JsonlLayout("text", **layout))
    return b"".join(score(moderator, table.layout, part.content).out for part in table.parts(0)).decode(layout.get("encoding", "utf-8"))


def scored(content, moderator, **layout):
    return [json.loads(line) for line in scored_lines(content, moderator, **layout).split("\n") if line]  # splitlines cuts at more


@given(objects=st.lists(rows, max_size=4), encoding=st.sampled_from(["utf-8", "gb18030"]))
@example(objects=[{"label": 1, "input_label": 2, "text": "好"}], encoding="utf-8")
def test_an_object_comes_out_with_all_that_it_held_and_the_verdict(moderator, objects, encoding):
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in objects).encode(encoding)
    out = scored(content, moderator, encoding=encoding)
    assert len(out) == len(objects)
    for row, judged in zip(objects, out, strict=True):
        assert {name: judged[name] for name in JUDGEMENT_COLUMNS}.keys() == set(JUDGEMENT_COLUMNS)
        kept = [value for name, value in judged.items() if name not in JUDGEMENT_COLUMNS]
        assert kept == list(row.values())
        assert (judged["label"] is None) is (judged["error"] is not None)


def test_a_verdict_has_numbers_and_booleans(moderator):
    [judged] = scored('{"text": "来赌一把"}'.encode(), moderator)
    assert judged == {
        "text": "来赌一把",
        "label": "violation",
        "confidence": 0.9998,
        "p_compliant": 0.0002,
        "p_suspicious": 0.0,
        "p_violation": 0.9998,
        "suggestion": "block",
        "uncertain": False,
        "decided_by": "model",
        "model_version": "tiny-1",
        "error": None,
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b"[1]", "bad_json: the line is no object"),
        (b"[" * 100_000, "bad_json"),
        (b'{"text": "\xff"}', "bad_encoding: not utf-8 at byte 10"),
        (b'{"a": 1}', "no_text: the object has no field 'text'"),
        (b'{"text": null}', "null_text"),
        (b'{"text": 5}', "no_text: 'text' is no string"),
        (b'{"text": ""}', "empty_text"),
        (b'{"text": "' + b"a" * MAX_ROW_BYTES, "row_too_long"),
    ],
)
def test_a_bad_line_is_marked_and_spoils_no_other(moderator, line, reason):
    good = '{"text": "好"}'.encode()
    before, bad, after = scored(b"\n".join([good, line, good]), moderator)
    assert bad["error"].startswith(reason)
    assert bad["label"] is None
    assert before == after
    assert before["label"] == "compliant"


def test_what_can_not_be_read_as_an_object_is_kept_as_it_stands(moderator):
    assert scored(b"no json\r\n", moderator)[0]["input_line"] == "no json"


def test_half_a_surrogate_pair_stays_an_escape(moderator):
    assert scored_lines(b'{"text": "a\\ud83d"}', moderator).startswith('{"text": "a\\ud83d", "label": ')


def test_a_byte_order_mark_belongs_to_no_object(moderator):
    assert scored(b'\xef\xbb\xbf{"text": "a"}', moderator)[0]["error"] is None


@pytest.mark.parametrize(("width", "most"), [(3, PART_ROWS), (5000, PART_BYTES // 5000 + 1)])
def test_a_part_ends_by_its_rows_or_its_bytes(width, most):
    table = JsonlTable(io.BytesIO(b"a" * width + b"\n" + (b"a" * width + b"\n") * 2000), JsonlLayout("text"))
    *parts, last = table.parts(0)
    assert max(part.rows for part in parts) == most
    assert sum(part.rows for part in parts) == 2001
    assert (last.rows, last.end) == (0, table.size)


def test_an_output_named_like_another_format_is_refused(tmp_path, moderator):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(BatchError, match=r"in\.jsonl: its output is jsonl too"):
        score_dump(tmp_path / "in.jsonl", tmp_path / "out.tsv", moderator)
    score_dump(tmp_path / "in.jsonl", tmp_path / "out.tsv", moderator, Reading(Dialect("text"), "jsonl"))
    assert json.loads((tmp_path / "out.tsv").read_text("utf-8"))["label"] == "compliant"


def test_mysqls_escapes_are_for_tsv_alone(tmp_path, moderator):
    (tmp_path / "in.jsonl").touch()
    with pytest.raises(BatchError, match="--mysql is for TSV alone"):
        score_dump(tmp_path / "in.jsonl", tmp_path / "out.jsonl", moderator, Reading(Dialect("text", mysql=True)))


def test_an_empty_jsonl_gives_an_empty_one(tmp_path, moderator):
    (tmp_path / "in.jsonl").touch()
    assert score_dump(tmp_path / "in.jsonl", tmp_path / "out.jsonl", moderator, TEXT).rows == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b""
