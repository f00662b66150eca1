"""What waits in the spill file arrives whole and once."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Feedback, FeedbackKind
from semantic_service.contract.verdict import Hit
from semantic_service.store.errors import StoreError
from semantic_service.store.rows import row_of_review
from semantic_service.store.spill import Spill
from semantic_service.store.store import Store
from tests.deadline import PATIENCE_S, until
from tests.reviewed import at, review
from tests.strategies import any_text


class Kept:
    """A store that remembers what it was given, and may be away."""

    def __init__(self):
        self.entries, self.fails_at = [], None

    def keep(self, entries):
        if self.fails_at is not None and len(self.entries) >= self.fails_at:
            raise StoreError("away")
        self.entries += entries
        return len(entries)


@pytest.fixture
def spill(tmp_path):
    return Spill(tmp_path / "spill.jsonl")


def storable(text):
    return "".join("\u200b" if character == "\x00" or "\ud800" <= character <= "\udfff" else character for character in text)


texts = any_text | st.text(st.characters(exclude_categories=()))


@settings(max_examples=50)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_any_text_arrives_as_it_was_written(tmp_path_factory, pairs):
    spill, store = Spill(tmp_path_factory.mktemp("spill") / "spill.jsonl"), Kept()
    reviews = [review(text, data_id=other, hits=(Hit("彩", "deny", 0, 1),)) for text, other in pairs]
    said = [Feedback("0" * 16, FeedbackKind.APPEAL, at(1), Label.VIOLATION, note=other, text=text) for text, other in pairs]
    for first, second in zip(reviews, said, strict=True):
        spill.keep([first, second])
    assert spill.replay(store) == 2 * len(pairs)
    arrived = [entry for pair in zip(reviews, said, strict=True) for entry in pair]
    assert [entry.text for entry in store.entries] == [storable(entry.text) for entry in arrived]
    assert [entry.text_id for entry in store.entries] == [entry.text_id for entry in arrived]
    assert [entry.data_id for entry in store.entries[::2]] == [storable(other) for _, other in pairs]
    assert [entry.note for entry in store.entries[1::2]] == [storable(other) for _, other in pairs]
    assert spill.size_bytes == 0


def test_what_a_store_does_not_take_stays_until_it_does(spill):
    spill.keep([review(f"第{number}楼") for number in range(250)])
    store = Kept()
    store.fails_at = 200
    with pytest.raises(StoreError):
        spill.replay(store)
    store.entries, store.fails_at = [], None
    assert spill.replay(store) == 250
    assert [entry.text for entry in store.entries] == [f"第{number}楼" for number in range(250)]
    assert spill.replay(store) == 0


def test_rows_that_come_twice_are_stored_once(spill, store):
    entries = [review("好"), Feedback("0" * 16, FeedbackKind.APPEAL, at(1))]
    for _ in range(2):
        spill.keep(entries)
        spill.replay(store)
    assert (len(list(store.reviews())), len(store.feedback())) == (1, 1)


def test_a_torn_last_row_is_dropped_and_no_other(spill):
    spill.keep([review("好")])
    with spill.path.open("ab") as stream:
        stream.write(b'{"review": {"te')
    store = Kept()
    assert spill.replay(store) == 1
    assert spill.size_bytes == 0


@pytest.mark.parametrize(
    "line",
    ["{", "7", "{}", '{"review": {}}', '{"other": {}}', json.dumps({"review": row_of_review(review("秘密")) | {"label": "nice"}})],
)
def test_a_row_that_can_not_be_read_is_put_aside_and_holds_up_no_other(spill, line, caplog):
    spill.path.write_text(line + "\n", encoding="utf-8")
    spill.keep([review("好")])
    store = Kept()
    assert spill.replay(store) == 1
    [aside] = (spill.path.parent / "spill.jsonl.unreadable").read_text("utf-8").splitlines()
    assert json.loads(aside) == {"line": line + "\n"}
    assert "a spilled row can't be read" in caplog.text
    assert "秘密" not in caplog.text


class Slow(Kept):
    """A store that takes its time."""

    def __init__(self):
        super().__init__()
        self.began, self.may_go_on = threading.Event(), threading.Event()

    def keep(self, entries):
        self.began.set()
        assert self.may_go_on.wait(PATIENCE_S)
        return super().keep(entries)


def test_while_one_replays_another_adds_without_waiting_and_finds_nothing_to_replay(spill):
    slow, other = Slow(), Kept()
    spill.keep([review("一")])
    with ThreadPoolExecutor(1) as replayer:
        replayed = replayer.submit(spill.replay, slow)
        assert slow.began.wait(PATIENCE_S)
        spill.keep([review("二")])
        assert spill.replay(other) == 0
        slow.may_go_on.set()
        assert replayed.result(PATIENCE_S) == 2
    assert [entry.text for entry in slow.entries] == ["一", "二"]
    assert (other.entries, spill.size_bytes) == ([], 0)


def test_nothing_is_lost_when_many_add_while_one_replays(spill):
    store, posts, done = Kept(), 200, threading.Event()

    def replay():
        while not done.is_set():
            spill.replay(store)

    with ThreadPoolExecutor(5) as crowd:
        replaying = crowd.submit(replay)
        for writing in [crowd.submit(spill.keep, [review(f"第{number}楼")]) for number in range(posts)]:
            writing.result(PATIENCE_S)
        until(lambda: spill.size_bytes == 0)
        done.set()
        replaying.result(PATIENCE_S)
    assert sorted(entry.text for entry in store.entries) == sorted(f"第{number}楼" for number in range(posts))


def test_without_a_file_there_is_nothing_to_replay(spill):
    assert (spill.size_bytes, spill.replay(Kept())) == (0, 0)
    assert not list(spill.path.parent.iterdir())


def test_the_store_has_all_that_the_spill_had(spill, url):
    spill.keep([review(f"第{number}楼") for number in range(250)])
    store = Store.open(url)
    assert spill.replay(store) == 250
    assert store.counts()["reviews"] == 250
    store.close()
