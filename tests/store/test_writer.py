"""Nobody waits for the database, and what it can't take now it gets later."""

import threading
from collections import Counter

import pytest

from semantic_service.contract.reviews import Feedback, FeedbackKind
from semantic_service.store import keeper as keepers
from semantic_service.store import writer as writers
from semantic_service.store.errors import StoreError
from semantic_service.store.keeper import Keeper, Result
from semantic_service.store.store import Store
from semantic_service.store.writer import MAX_WAITING, Writer
from tests.deadline import PATIENCE_S, until
from tests.reviewed import at, review

SAID = Feedback("0" * 16, FeedbackKind.APPEAL, at(1))


class Tally(Counter):
    """What became of how many."""

    def __call__(self, result, entries):
        self[result.value] += entries

    def of(self, *results):
        return sum(self[result.value] for result in results)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(keepers, "RETRY_S", 0.0)
    monkeypatch.setattr(writers, "PAUSE_S", 0.01)


@pytest.fixture
def place(tmp_path):
    """Give a database's file that can be away: while its folder is a file."""
    return tmp_path / "disk" / "moderation.db"


@pytest.fixture
def tally():
    return Tally()


@pytest.fixture
def keeper(place, tmp_path, tally):
    made = Keeper(f"sqlite:///{place}", tmp_path / "spill.jsonl", tally)
    yield made
    made.close()


@pytest.fixture
def away(place):
    """The database is away until this is called."""
    place.parent.write_text("in the way")
    return place.parent.unlink


def stored(place):
    store = Store.open(f"sqlite:///{place}")
    texts = sorted(post.text for post in store.reviews())
    store.close()
    return texts


def test_what_is_offered_is_stored_and_counted_as_new_or_known(keeper, place, tally):
    writer = Writer(keeper)
    writer.start()
    for text in ("一", "二", "一"):
        writer.offer(review(text))
    writer.close()
    assert stored(place) == ["一", "二"]
    assert (tally["stored"] + tally["replayed"], tally["spilled"] + tally["stored"] + tally["known"]) == (2, 3)


def test_what_comes_while_the_database_is_away_arrives_when_it_is_back(keeper, away, place, tally):
    writer = Writer(keeper)
    writer.start()
    for number in range(300):
        writer.offer(review(f"{number:03}"))
    until(lambda: tally["spilled"] == 300)
    assert keeper.keep([SAID]) is Result.SPILLED
    assert not tally["stored"]
    away()
    until(lambda: tally["replayed"] == 301)
    assert stored(place) == [f"{number:03}" for number in range(300)]
    writer.offer(review("新"))
    until(lambda: tally["stored"] == 1)
    assert keeper.keep([SAID]) is Result.STORED
    writer.close()
    assert tally.of(Result.DROPPED, Result.FAILED) == 0


def test_a_database_that_goes_away_in_between_is_given_up_and_found_again(keeper, place, tally, caplog):
    caplog.set_level("INFO")
    keeper.reach()
    assert keeper.keep([review("一")]) is Result.STORED
    with keeper._store._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE reviews RENAME TO hidden")
    assert keeper.keep([review("秘密")]) is Result.SPILLED
    with pytest.raises(StoreError, match="the database is away"):
        keeper.find("r1")
    keeper.reach()
    assert tally["replayed"] == 0
    with Store.open(f"sqlite:///{place}")._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO reviews")
    keeper.reach()
    assert (tally["replayed"], keeper.spill.size_bytes) == (1, 0)
    assert stored(place) == ["一", "秘密"]
    assert caplog.text.count("the review store can't be used") == 1
    assert caplog.text.count("the review store is in use again") == 1
    assert "秘密" not in caplog.text


def test_a_failure_is_said_once_until_the_store_is_back(keeper, away, caplog):
    for _ in range(3):
        keeper.reach()
        keeper.keep([review("秘密")])
    assert caplog.text.count("the review store can't be used") == 1
    assert "moderation.db: File exists" in caplog.text


def test_with_database_and_disk_gone_the_rows_are_counted_as_lost_and_a_feedback_is_refused(away, place, tmp_path, tally, caplog):
    keeper = Keeper(f"sqlite:///{place}", tmp_path, tally)
    writer = Writer(keeper)
    writer.start()
    writer.offer(review("秘密"))
    until(lambda: tally["failed"] == 1)
    with pytest.raises(StoreError, match="Is a directory"):
        keeper.keep([SAID])
    writer.close()
    assert tally["failed"] == 2
    assert "秘密" not in caplog.text


def test_a_spill_file_that_can_not_be_read_does_not_keep_the_store_from_being_used(place, tmp_path, tally):
    keeper = Keeper(f"sqlite:///{place}", tmp_path, tally)
    keeper.reach()
    assert keeper.keep([review("好")]) is Result.STORED
    keeper.close()


class Stuck:
    """A keeper whose database neither answers nor fails."""

    def __init__(self, tally):
        self.count, self.goes_on, self.kept = tally, threading.Event(), []

    def reach(self):
        assert self.goes_on.wait(PATIENCE_S)

    def keep(self, entries):
        self.kept += entries

    def close(self):
        pass


def test_offering_never_waits_and_what_does_not_fit_is_dropped_and_counted(tally):
    stuck = Stuck(tally)
    writer = Writer(stuck)
    writer.start()
    for number in range(MAX_WAITING + 7):
        writer.offer(review(str(number)))
    assert tally == {"dropped": 7}
    stuck.goes_on.set()
    writer.close()
    assert [post.text for post in stuck.kept] == [str(number) for number in range(MAX_WAITING)]


class Broken(Stuck):
    """A keeper with a fault of its own."""

    def reach(self):
        raise RuntimeError("秘密")

    def keep(self, entries):
        self.kept += entries
        if len(self.kept) == 1:
            raise RuntimeError("秘密")


def test_a_fault_is_logged_and_the_thread_goes_on(tally):
    broken = Broken(tally)
    writer = Writer(broken)
    writer.start()
    for number in (1, 2):
        writer.offer(review("好"))
        until(lambda number=number: len(broken.kept) == number)
    writer.close()


def test_closing_writes_what_waits(keeper, place):
    writer = Writer(keeper)
    writer.start()
    for number in range(200):
        writer.offer(review(f"{number:03}"))
    writer.close()
    assert stored(place) == [f"{number:03}" for number in range(200)]
