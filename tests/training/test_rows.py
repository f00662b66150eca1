import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.dataset import read_rows
from training.errors import DataError
from training.rows import scan_rows

LINES = st.sampled_from(
    ["{}", '{"text": "好", "label": 0}', "[]", "{", "", "text,label", "好,0", '"好', '"好"!,1', "好\t0", "一,二,三", "\udcff"]
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@given(name=st.sampled_from(("a.jsonl", "a.csv", "a.tsv", "a.txt")), some=st.lists(LINES, max_size=6))
def test_reading_gives_the_scanned_rows_or_stops_at_the_first_reason(name, some, scratch):
    path = scratch / name
    path.write_text("".join(f"{line}\n" for line in some), encoding="utf-8", errors="surrogateescape")
    scanned = list(scan_rows(path))
    reasons = [(line, row) for line, row in scanned if isinstance(row, str)]
    if not reasons:
        assert list(read_rows(path)) == scanned
        return
    line, reason = reasons[0]
    with pytest.raises(DataError) as refusal:
        list(read_rows(path))
    assert str(refusal.value) == (f"{path}: {reason}" if line is None else f"{path}:{line}: {reason}")


def test_a_reason_is_followed_by_the_rows_after_it(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": 1}\n{\n\n"好"\n{"text": 2}\n', encoding="utf-8")
    rows = list(scan_rows(path))
    assert [line for line, _ in rows] == [1, 2, 4, 5]
    assert [row for _, row in rows if not isinstance(row, str)] == [{"text": 1}, {"text": 2}]
    assert rows[2] == (4, "must be an object, got str")


def test_a_row_of_several_lines_has_the_number_of_its_last(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text('text,label\n"一\n二",0\n三,1\n', encoding="utf-8")
    assert list(scan_rows(path)) == [(3, {"text": "一\n二", "label": "0"}), (4, {"text": "三", "label": "1"})]


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "posts.csv").mkdir()
    assert list(scan_rows(tmp_path / "posts.csv")) == [(None, "can't be read (Is a directory)")]
