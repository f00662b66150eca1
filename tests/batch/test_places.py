import io

import pytest

from semantic_service.batch import places
from semantic_service.batch.errors import BatchError
from semantic_service.batch.places import Shard, shards
from tests.dumps import Stopped, job_of, score_dump

FOLDERS = ("2026-10", "2026-11")


@pytest.fixture
def posts(tmp_path):
    for folder in FOLDERS:
        (tmp_path / "posts" / folder).mkdir(parents=True)
        for number in range(2):
            text = "来赌一把" if number else "好"
            (tmp_path / "posts" / folder / f"{number}.tsv").write_text("text\n" + f"{text}\n\n" * 2, encoding="utf-8")
    return tmp_path / "posts"


class Noted:
    """Judges, and notes which texts it was asked for."""

    def __init__(self, moderator):
        self.asked = []
        self._moderator = moderator

    def __getattr__(self, name):
        return getattr(self._moderator, name)

    def judge_all(self, texts):
        self.asked += texts
        return self._moderator.judge_all(texts)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_input_gets_an_output_under_its_own_name(posts, tmp_path, moderator):
    totals = score_dump(posts / "*" / "*.tsv", tmp_path / "scored", moderator)
    assert (totals.rows, totals.errors) == (4 * 4, 4 * 2)
    outputs = [f"{folder}/{number}.tsv" for folder in FOLDERS for number in range(2)]
    assert [name for name in files(tmp_path / "scored") if name.endswith(".tsv")] == outputs
    score_dump(posts / "2026-11" / "1.tsv", tmp_path / "alone.tsv", moderator)
    assert (tmp_path / "scored" / "2026-11" / "1.tsv").read_bytes() == (tmp_path / "alone.tsv").read_bytes()


@pytest.mark.parametrize("parts", range(8))
def test_a_finished_output_is_never_made_again(posts, tmp_path, moderator, parts):
    pattern, target = posts / "*" / "*.tsv", tmp_path / "scored"
    with pytest.raises(InterruptedError):
        job_of([pattern], target, moderator).run(Stopped(moderator, parts))
    done = [path for path in target.rglob("*.tsv") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in done}
    noted = Noted(moderator)
    totals = score_dump(pattern, target, noted, resume=True)
    assert (totals.rows, totals.errors) == (16, 8)
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert len(noted.asked) <= 16 - 4 * len(done)
    again = Noted(moderator)
    assert score_dump(pattern, target, again, resume=True) == totals
    assert again.asked == []


def test_outputs_of_an_earlier_run_are_not_overwritten_unasked(posts, tmp_path, moderator):
    score_dump(posts / "2026-10" / "*.tsv", tmp_path / "scored", moderator)
    with pytest.raises(BatchError, match=r"0\.tsv\.checkpoint is left from an earlier run: give --resume"):
        score_dump(posts / "2026-10" / "*.tsv", tmp_path / "scored", moderator)


@pytest.mark.parametrize(
    ("inputs", "output", "outputs"),
    [
        (["a.tsv"], "out.tsv", ["out.tsv"]),
        (["a.tsv"], "out/", ["out/a.tsv"]),
        (["a.tsv", "b.tsv"], "out", ["out/a.tsv", "out/b.tsv"]),
        (["x/a.tsv", "y/a.tsv"], "out", ["out/x/a.tsv", "out/y/a.tsv"]),
        (["x/a.tsv", "x/y/a.tsv"], "out", ["out/a.tsv", "out/y/a.tsv"]),
        (["x/a.tsv", "./x/a.tsv"], "out", ["out/a.tsv"]),
    ],
)
def test_outputs_are_named_after_their_inputs(inputs, output, outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [shard.output for shard in shards(inputs, output)] == outputs


def test_a_folder_that_is_there_takes_a_single_output(posts, tmp_path):
    assert [shard.output for shard in shards([str(posts / "2026-10" / "0.tsv")], str(tmp_path))] == [f"{tmp_path}/0.tsv"]


def test_a_pattern_that_fits_nothing_is_refused(tmp_path):
    with pytest.raises(BatchError, match=r"\*\.tsv: no file is called like that"):
        shards([f"{tmp_path}/*.tsv"], str(tmp_path / "out"))


def test_a_folder_of_outputs_may_not_be_that_of_the_inputs(posts):
    with pytest.raises(BatchError, match="the output must be another file than the input"):
        shards([f"{posts}/2026-10/*.tsv"], str(posts / "2026-10"))


def test_a_file_that_is_called_like_a_pattern_is_a_file(tmp_path):
    (tmp_path / "a[1].tsv").touch()
    assert [shard.input for shard in shards([str(tmp_path / "a[1].tsv")], str(tmp_path / "out.tsv"))] == [str(tmp_path / "a[1].tsv")]


def test_an_input_that_fails_is_named_and_the_others_wait(posts, tmp_path, moderator):
    (posts / "2026-10" / "1.tsv").write_text("content\n好\n", encoding="utf-8")
    with pytest.raises(BatchError, match=r"2026-10/1\.tsv: no column 'text'"):
        score_dump(posts / "*" / "*.tsv", tmp_path / "scored", moderator)
    (posts / "2026-10" / "1.tsv").write_text("text\n好\n", encoding="utf-8")
    assert score_dump(posts / "*" / "*.tsv", tmp_path / "scored", moderator, resume=True).rows == 13


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Give an object store in memory; what waits for it lies in `tmp_path`."""
    fsspec = pytest.importorskip("fsspec", reason="URLs are an extra: requirements/batch.txt")
    monkeypatch.setattr(places, "SPOOL", tmp_path / "spool")
    system = fsspec.filesystem("memory")
    system.store.clear()
    for number in range(3):
        system.pipe(f"/posts/{number}.tsv", "text\n好\n来赌一把\n".encode())
    return system


@pytest.mark.parametrize("parts", range(6))
def test_objects_come_and_go_by_url_and_whole(bucket, tmp_path, moderator, parts):
    pattern, target = "memory://posts/*.tsv", "memory://scored"
    with pytest.raises(InterruptedError):
        job_of([pattern], target, moderator).run(Stopped(moderator, parts))
    for name in bucket.glob("/scored/*.tsv"):
        assert bucket.cat(name).decode().count("\n") == 3
    assert score_dump(pattern, target, moderator, resume=True).rows == 6
    assert [name for name in bucket.glob("/scored/*") if name.endswith(".tsv")] == [f"/scored/{number}.tsv" for number in range(3)]
    assert bucket.cat("/scored/1.tsv").decode().splitlines()[2].startswith("来赌一把\tviolation\t")
    again = Noted(moderator)
    assert score_dump(pattern, target, again, resume=True).rows == 6
    assert again.asked == []
    assert files(tmp_path / "spool") == []


def test_what_waits_for_two_buckets_lies_apart():
    assert Shard("a", "s3://one/x.tsv").partial != Shard("a", "s3://two/x.tsv").partial


def test_a_url_that_nobody_serves_is_refused():
    pytest.importorskip("fsspec", reason="URLs are an extra: requirements/batch.txt")
    with pytest.raises(BatchError, match=r"nowhere://x: .*nowhere"):
        places.open_input("nowhere://x")


class Shaky(io.BytesIO):
    """An object whose store goes away while it is read."""

    def readinto(self, buffer):
        if self.tell():
            raise GoneError("no route to the store")
        return super().readinto(memoryview(buffer)[:3])


class GoneError(Exception):
    """An error as a store's library has it: no OSError."""


@pytest.mark.parametrize("method", ["exists", "size", "put_file", "_open", "glob"])
def test_what_a_store_says_is_told_with_the_url(bucket, tmp_path, moderator, monkeypatch, method):
    def away(*_, **__):
        raise GoneError("no route to the store")

    monkeypatch.setattr(type(bucket), method, away)
    with pytest.raises(BatchError, match=r"memory://.*: no route to the store"):
        score_dump("memory://posts/*.tsv", "memory://scored", moderator)
    monkeypatch.undo()
    monkeypatch.setattr(places, "SPOOL", tmp_path / "spool")
    assert score_dump("memory://posts/*.tsv", "memory://scored", moderator, resume=True).rows == 6


def test_a_store_that_goes_away_while_it_is_read_is_told_with_the_url(bucket, monkeypatch):
    monkeypatch.setattr(type(bucket), "_open", lambda *_, **__: Shaky(b"text"))
    with places.open_input("memory://posts/0.tsv") as stream, pytest.raises(BatchError, match=r"memory://posts/0\.tsv: no route"):
        stream.read()
