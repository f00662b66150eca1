import pytest

from semantic_service.batch.errors import BatchError
from semantic_service.batch.tables import JUDGEMENT_COLUMNS, PART_ROWS
from tests.dumps import Stopped, job_of, score_dump

pa = pytest.importorskip("pyarrow", reason="Parquet is an extra: requirements/batch.txt")
parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is an extra: requirements/batch.txt")

TEXTS = ["今天天气真好", "来赌一把", None, "", "有点可疑的消息"]
ROWS = 3 * PART_ROWS + 7


def table(rows, **more):
    texts = [TEXTS[number % len(TEXTS)] for number in range(rows)]
    return pa.table({"id": pa.array(range(rows), pa.int32()), "text": pa.array(texts, pa.string()), **more})


@pytest.fixture
def files(tmp_path):
    return tmp_path / "in.parquet", tmp_path / "out.parquet"


@pytest.mark.parametrize("group", [100, PART_ROWS, 1000, ROWS])
def test_the_columns_come_out_as_they_were_with_the_verdicts(files, moderator, group):
    source, target = files
    day = pa.array([None, *range(ROWS - 1)], pa.timestamp("ms", "Asia/Shanghai"))
    boards = pa.array([["a"], None, *[[]] * (ROWS - 2)], pa.list_(pa.string()))
    posts = table(ROWS, day=day, boards=boards).replace_schema_metadata({"made": "here"})
    parquet.write_table(posts, source, row_group_size=group)
    totals = score_dump(source, target, moderator)
    scored = parquet.read_table(target)
    assert scored.schema.names == [*posts.schema.names, *JUDGEMENT_COLUMNS]
    assert scored.select(posts.schema.names).equals(parquet.read_table(source))
    assert scored.schema.metadata[b"made"] == b"here"
    assert (totals.rows, totals.errors) == (ROWS, scored["error"].drop_null().length())
    rows = scored.to_pylist()[:4]
    assert [row["label"] for row in rows] == ["compliant", "violation", None, None]
    assert [(row["error"] or "").split(":")[0] for row in rows] == ["", "", "null_text", "empty_text"]
    assert (rows[1]["confidence"], rows[1]["uncertain"]) == (0.9998, False)
    assert not [path for path in source.parent.iterdir() if path not in files]


@pytest.mark.parametrize("parts", range(5))
def test_it_goes_on_where_it_stopped(files, moderator, parts):
    source, target = files
    parquet.write_table(table(ROWS), source, row_group_size=700)
    score_dump(source, target, moderator)
    whole = parquet.read_table(target)
    target.unlink()
    with pytest.raises(InterruptedError):
        job_of([source], target, moderator).run(Stopped(moderator, parts))
    score_dump(source, target, moderator, resume=True)
    assert parquet.read_table(target).equals(whole)


def test_text_may_be_binary_or_a_dictionary(files, moderator):
    source, target = files
    for column in (pa.array(["来赌一把".encode(), b"\xff", None]), pa.array(["来赌一把", "来赌一把", None]).dictionary_encode()):
        parquet.write_table(pa.table({"text": column}), source)
        score_dump(source, target, moderator)
        scored = parquet.read_table(target)
        assert scored["label"][0].as_py() == "violation"
        assert scored["error"][2].as_py().startswith("null_text")
        assert scored["text"].equals(parquet.read_table(source)["text"])


def test_a_column_called_like_a_verdicts_is_renamed(files, moderator):
    source, target = files
    parquet.write_table(pa.table({"text": ["好"], "label": ["violation"]}), source)
    score_dump(source, target, moderator)
    assert parquet.read_table(target).to_pylist()[0]["input_label"] == "violation"
    assert parquet.read_table(target).to_pylist()[0]["label"] == "compliant"


def test_a_file_without_rows_gives_one(files, moderator):
    source, target = files
    parquet.write_table(table(0), source)
    assert score_dump(source, target, moderator).rows == 0
    assert parquet.read_table(target).num_rows == 0
    assert parquet.read_table(target).schema.names[-1] == "error"


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"id": [1]}, "no column 'text': the file has id"), ({"text": [1]}, "column 'text' is int64, it must hold text")],
)
def test_a_file_without_text_is_refused(files, moderator, columns, message):
    source, target = files
    parquet.write_table(pa.table(columns), source)
    with pytest.raises(BatchError, match=message):
        score_dump(source, target, moderator)


def test_what_is_no_parquet_is_refused(files, moderator):
    source, target = files
    source.write_bytes(b"id,text\n1,a\n")
    with pytest.raises(BatchError, match="not a Parquet file"):
        score_dump(source, target, moderator)
