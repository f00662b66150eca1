"""The review store behind a real server: its database comes and goes, and no caller notices."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import pytest

from semantic_service.store.spill import Spill
from semantic_service.store.store import Store
from tests.deadline import until
from tests.served import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PATIENT_S = 4.0  # far below what a caller would wait that waits for a database


def keep_asking(server, name, enough):
    """Post until `enough`, each text once; give what was posted, what was answered and how long it took at most."""
    posted, answers, slowest_s = [], Counter(), 0.0
    while not enough.is_set():
        posted.append(f"{name}楼{len(posted)}号 今天天气真好")
        began = time.monotonic()
        status, answer = server.classify(posted[-1])
        slowest_s = max(slowest_s, time.monotonic() - began)
        answers[status, answer["label"], answer["suggestion"]] += 1
    return posted, answers, slowest_s


def stored(url):
    with closing(Store.open(url)) as store:
        return Counter(review.text for review in store.reviews())


def test_a_database_that_is_away_at_the_start_and_again_under_load_gets_everything_once(tiny_bundle, postgres, tmp_path):
    url, spill, enough = postgres.empty("behind_a_server"), Spill(tmp_path / "spill.jsonl"), Event()
    postgres.stop()
    settings = {"database_url": url, "spill_file": spill.path, "audit_share": 1, "workers": 2, "threads": 1}
    with serving(tiny_bundle.path, tmp_path, **settings) as server, ThreadPoolExecutor(2) as callers:
        asking = [callers.submit(keep_asking, server, name, enough) for name in "甲乙"]
        try:
            until(lambda: spill.size_bytes)
            assert "the review store can't be used, what is to be kept waits in" in server.log.read_text("utf-8")
            for times in (1, 2):
                postgres.start()
                until(lambda: not spill.size_bytes and stored(url))
                if times == 1:
                    postgres.stop()
                    until(lambda: spill.size_bytes)
        finally:
            enough.set()
        asked = [caller.result() for caller in asking]
        assert server.stop() == 0
    with closing(Store.open(url)) as store:
        spill.replay(store)  # what a worker that had not yet found the database again has left
    assert stored(url) == Counter(text for posted, _, _ in asked for text in posted)
    assert {answer for _, answers, _ in asked for answer in answers} == {(200, "compliant", "pass")}
    assert max(slowest_s for _, _, slowest_s in asked) < PATIENT_S


def test_the_log_holds_no_text_and_sqlite_has_what_several_processes_write(tiny_bundle, tmp_path):
    enough = Event()
    with serving(tiny_bundle.path, tmp_path, audit_share=1, workers=2, threads=1) as server, ThreadPoolExecutor(2) as callers:
        asking = [callers.submit(keep_asking, server, name, enough) for name in "甲乙"]
        url = f"sqlite:///{tmp_path}/moderation.db"
        until(lambda: (tmp_path / "moderation.db").exists() and len(stored(url)) > 50)
        enough.set()
        asked = [caller.result() for caller in asking]
        assert server.stop() == 0
        assert "天气" not in server.log.read_text("utf-8")
    assert stored(url) == Counter(text for posted, _, _ in asked for text in posted)
