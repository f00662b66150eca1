import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import PoolError
from annotation.pool import Skipped, read
from semantic_service.batch.job import Reading
from semantic_service.batch.tsv import Dialect
from semantic_service.contract.labels import Label
from semantic_service.contract.verdict import Decider, Suggestion
from semantic_service.store.store import Store
from tests.annotation.judged import review
from tests.dumps import score_dump

HEADER = "text\tdata_id\tlabel\tconfidence\tp_compliant\tp_suspicious\tp_violation\tsuggestion\tuncertain\tdecided_by\tmodel_version\terror"
GOOD = "好\tpost-1\tcompliant\t0.5000\t0.5000\t0.3000\t0.2000\treview\ttrue\tmodel\tm-1\t"


class FakeService:
    """Judges every post but those that say 坏."""

    def judge(self, posts):
        return [
            "the service can't judge it" if "坏" in post.text else review(post.text, data_id=post.data_id, scene=post.scene)
            for post in posts
        ]


def found(path, column="text"):
    return list(read(str(path), column, FakeService()))


def write(path, *lines):
    path.write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogateescape"))
    return path


def test_what_the_batch_command_wrote_is_read_back(tmp_path, moderator):
    dump, scored = tmp_path / "dump.tsv", tmp_path / "scored.tsv"
    write(dump, "post\tcontent", "1\t今天天气真好", "2\t赌博", "3\t")
    score_dump(dump, scored, moderator, Reading(Dialect("content")))
    first, second, empty = sorted(found(scored, "content"), key=lambda row: getattr(row, "text", "～"))
    assert [first.text, second.text] == ["今天天气真好", "赌博"]
    assert first.probabilities == pytest.approx(moderator.judge("今天天气真好").verdict.probabilities, abs=1e-4)
    assert first.model_version == moderator.judge("好").model_version
    assert empty == Skipped(f"{scored}:4", "no text in 'content'")


def test_a_scored_row_keeps_everything(tmp_path):
    (read_back,) = found(write(tmp_path / "scored.tsv", HEADER, GOOD))
    assert (read_back.label, read_back.suggestion, read_back.decided_by) == (Label.COMPLIANT, Suggestion.REVIEW, Decider.MODEL)
    assert (read_back.probabilities, read_back.is_uncertain, read_back.data_id) == ((0.5, 0.3, 0.2), True, "post-1")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD.replace("compliant", "秘密"), "not as `python -m semantic_service.batch` writes it"),
        (GOOD.replace("0.3000", "秘密"), "not as `python -m semantic_service.batch` writes it"),
        (GOOD.replace("true", "秘密"), "not as `python -m semantic_service.batch` writes it"),
        (GOOD.replace("0.3000", "0.9000"), "p_compliant, p_suspicious, p_violation are no probabilities"),
        (GOOD.replace("0.3000", "nan"), "p_compliant, p_suspicious, p_violation are no probabilities"),
        (GOOD + "\t秘密", "13 columns, where the header has 12"),
        (GOOD + "text_too_long", "it was not judged: its column 'error' says why"),
        (GOOD.replace("好", "\u200b"), "no text in 'text'"),
        (GOOD.replace("好", "\udcff"), "not UTF-8: save the file as UTF-8, as with `iconv -f gb18030 -t utf-8`"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_spoils_no_other(tmp_path, row, reason):
    path = write(tmp_path / "scored.tsv", HEADER, GOOD, row, GOOD)
    rows = found(path)
    assert [row for row in rows if isinstance(row, Skipped)] == [Skipped(f"{path}:3", reason)]
    assert len(rows) == 3


@given(lines=st.lists(st.binary(max_size=40), max_size=5))
def test_no_line_breaks_the_reading_of_the_others(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("any") / "scored.tsv"
    lines = [line.replace(b"\n", b"") for line in lines]
    path.write_bytes(b"\n".join([HEADER.encode(), *lines, GOOD.encode(), b""]))
    rows = found(path)
    assert len(rows) == len(lines) + 1
    assert any(not isinstance(row, Skipped) and row.text == "好" for row in rows)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("posts.txt", ["好", "坏", "", "也好"]),
        ("posts.tsv", ["data_id\ttext", "1\t好", "2\t坏", "3\t", "4\t也好"]),
        ("posts.jsonl", ['{"text": "好"}', '{"text": "坏"}', '"秘密"', '{"text": "也好"}']),
    ],
)
def test_texts_are_judged_by_the_service(tmp_path, name, lines):
    rows = found(write(tmp_path / name, *lines))
    assert [row.text for row in rows if not isinstance(row, Skipped)] == ["好", "也好"]
    assert sum(isinstance(row, Skipped) for row in rows) == 2
    assert "秘密" not in str(rows)


def test_ids_and_scenes_go_along(tmp_path):
    (judged,) = found(write(tmp_path / "posts.jsonl", '{"content": "好", "data_id": 5, "scene": "game"}'), "content")
    assert (judged.data_id, judged.scene) == ("5", "game")


def test_the_review_store_is_read(tmp_path):
    url = f"sqlite:///{tmp_path}/moderation.db"
    store = Store.open(url)
    store.add([review("好"), review("也好")])
    store.close()
    assert {row.text for row in found(url)} == {"好", "也好"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("posts.csv", "must end in .tsv, .jsonl, .txt"),
        ("none.tsv", "can't be read"),
        ("posts.tsv", "no column 'text': the header has a, b"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_in_words(tmp_path, name, said):
    write(tmp_path / "posts.tsv", "a\tb")
    with pytest.raises(PoolError, match=said):
        found(tmp_path / name)
