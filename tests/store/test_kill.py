"""A kill at any moment: what was confirmed is there, and nothing is there twice."""

import subprocess
import sys
from contextlib import closing

import pytest

from semantic_service.contract.reviews import Feedback, FeedbackKind
from semantic_service.store.keeper import Keeper
from semantic_service.store.spill import Spill
from semantic_service.store.store import Store
from tests.deadline import until
from tests.reviewed import at, review
from tests.served import PROJECT, killed_in_the_end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KEEPER = """
import sys
from pathlib import Path
from semantic_service.store.keeper import Keeper
from tests.reviewed import review

keeper = Keeper(sys.argv[1], Path(sys.argv[2]), lambda result, entries: None)
"""
WRITE = """
if sys.argv[3] == "reached":
    keeper.reach()
for number in range(10**9):
    posts = [f"{number}:{post}" for post in range(3)]
    keeper.keep([review(post) for post in posts])
    print(*posts, flush=True)
"""
REPLAY = "keeper.reach()"


def run(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", KEEPER + code, *map(str, arguments)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def restarted(url, spill_file):
    """Give what the next start finds."""
    with closing(Keeper(url, spill_file, lambda result, entries: None)) as keeper:
        keeper.reach()
        assert keeper.spill.size_bytes == 0
    with closing(Store.open(url)) as store:
        return list(store.reviews()), store.feedback()


@pytest.mark.parametrize("database", ["reached", "away"])
def test_what_was_confirmed_before_a_kill_is_kept_once(url, tmp_path, database):
    spill_file = tmp_path / "spill.jsonl"
    with killed_in_the_end(run(WRITE, url, spill_file, database)) as process, process.stdout:
        lines = [process.stdout.readline() for _ in range(20)]
        process.kill()
        lines += process.stdout.readlines()
    confirmed = {post for line in lines if line.endswith("\n") for post in line.split()}
    reviews, _ = restarted(url, spill_file)
    texts = [post.text for post in reviews]
    assert len(confirmed) >= 60
    assert confirmed <= set(texts)
    assert len(texts) == len(set(texts)) <= len(confirmed) + 3


def test_kills_while_the_spill_is_replayed_lose_and_double_nothing(url, tmp_path):
    spill, posts = Spill(tmp_path / "spill.jsonl"), 3000
    said = [Feedback("0" * 16, FeedbackKind.APPEAL, at(hour)) for hour in range(3)]
    spill.keep([*said, *(review(f"第{number}楼") for number in range(posts))])
    with closing(Store.open(url)) as store:
        for wanted in (1, posts // 3, posts // 2):
            with killed_in_the_end(run(REPLAY, url, spill.path)) as process, process.stdout:
                until(lambda wanted=wanted: store.counts()["reviews"] >= wanted or process.poll() is not None)
        assert store.counts()["reviews"] > 0
    reviews, feedback = restarted(url, spill.path)
    assert sorted(post.text for post in reviews) == sorted(f"第{number}楼" for number in range(posts))
    assert feedback == said
