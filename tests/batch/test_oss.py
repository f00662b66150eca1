"""Batches over an object store that speaks OSS, by way of the library that users have."""

import re

import pytest

from semantic_service.batch import places
from semantic_service.batch.errors import BatchError
from tests.dumps import Stopped, job_of, score_dump
from tests.oss_server import KEY, bucket

pytest.importorskip("ossfs", reason="URLs are an extra: requirements/batch.txt")
fsspec = pytest.importorskip("fsspec", reason="URLs are an extra: requirements/batch.txt")

POSTS, SCORED = "oss://forum/posts/*/*.tsv", "oss://forum/scored"
DAYS = ("2026-10", "2026-11")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Give a bucket with a file of posts a day."""
    monkeypatch.setattr(places, "SPOOL", tmp_path / "spool")
    with bucket() as held:
        monkeypatch.setitem(fsspec.config.conf, "oss", {"endpoint": held.url, "key": KEY, "secret": "secret"})
        held.update({f"posts/{day}/帖子.tsv": "text\n好\n来赌一把\n".encode() for day in DAYS})
        yield held


@pytest.mark.parametrize("parts", range(4))
def test_a_pattern_of_objects_is_scored_and_gone_on_with(store, moderator, parts):
    with pytest.raises(InterruptedError):
        job_of([POSTS], SCORED, moderator).run(Stopped(moderator, parts))
    assert score_dump(POSTS, SCORED, moderator, resume=True).rows == 4
    assert [name for name in store if name.startswith("scored/") and name.endswith(".tsv")] == [f"scored/{day}/帖子.tsv" for day in DAYS]
    assert store["scored/2026-11/帖子.tsv"].decode().splitlines()[2].startswith("来赌一把\tviolation\t")
    with pytest.raises(BatchError, match=r"oss://forum/scored/2026-10/帖子\.tsv\.checkpoint is left from an earlier run"):
        score_dump(POSTS, SCORED, moderator)


def test_the_posts_themselves_are_never_overwritten(store, moderator):
    before = dict(store)
    with pytest.raises(BatchError, match="the output must be another file than the input"):
        score_dump(POSTS, "oss://forum/posts", moderator)
    assert store == before


def test_what_is_not_there_is_said(store, moderator):
    with pytest.raises(BatchError, match=r"oss://forum/lost\.tsv: no file is called like that"):
        score_dump("oss://forum/lost.tsv", "oss://forum/scored.tsv", moderator)
    with pytest.raises(BatchError, match=r"oss://forum/lost/\*\.tsv: no file is called like that"):
        score_dump("oss://forum/lost/*.tsv", SCORED, moderator)


@pytest.mark.parametrize("name", ["2026-10/帖子.tsv", "*/*.tsv"])
def test_a_wrong_key_is_thought_of(store, moderator, monkeypatch, name):
    monkeypatch.setitem(fsspec.config.conf, "oss", {"endpoint": store.url, "key": "another", "secret": "secret"})
    with pytest.raises(BatchError, match=f"{re.escape(f'oss://forum/posts/{name}')}: .* these credentials don't show it"):
        score_dump(f"oss://forum/posts/{name}", SCORED, moderator)
