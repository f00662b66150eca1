import json
import resource
import stat
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract import json_lines
from semantic_service.contract.json_lines import JsonLines

ROWS = [{"text": "第一行"}, {"text": "a\nb\u2028c"}]


def read(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_rows_are_lines_that_only_the_owner_may_read(tmp_path):
    file = JsonLines(tmp_path / "var" / "shadow.jsonl")
    for row in ROWS:
        file.append([row])
    assert read(file.path) == ROWS
    assert file.path.read_bytes().count(b"\n") == 2
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@given(torn=st.binary(min_size=1).filter(lambda tail: b"\n" not in tail), whole=st.integers(0, 2))
def test_what_a_killed_writer_left_of_a_row_is_cut_off(tmp_path_factory, torn, whole):
    file = JsonLines(tmp_path_factory.mktemp("torn") / "shadow.jsonl")
    for row in ROWS[:whole]:
        file.append([row])
    with file.path.open("ab") as stream:
        stream.write(torn)
    file.append([{"text": "新"}])
    assert read(file.path) == [*ROWS[:whole], {"text": "新"}]


def test_many_writers_do_not_mix_their_rows(tmp_path):
    def write(number):
        for _ in range(20):
            JsonLines(tmp_path / "shadow.jsonl").append([{"text": str(number) * 20_000}])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(row["text"][0] for row in read(tmp_path / "shadow.jsonl")) == [str(number) for number in range(4) for _ in range(20)]


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path):
    file = JsonLines(tmp_path / "shadow.jsonl")
    file.append(ROWS[:1])
    file.path.rename(tmp_path / "taken.jsonl")
    file.append(ROWS[1:])
    assert (read(tmp_path / "taken.jsonl"), read(file.path)) == (ROWS[:1], ROWS[1:])


@contextmanager
def little_space():
    """Let no file grow beyond 100 bytes, as a full disk would: what fits of a write is written. Also pytest's report, if that is a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_whole_rows(tmp_path):
    file = JsonLines(tmp_path / "shadow.jsonl")
    with little_space():
        file.append(ROWS[:1])
        for _ in range(2):
            with pytest.raises(OSError, match="No space left on device"):
                file.append([{"text": "x" * 200}])
        file.append(ROWS[1:])
    assert read(file.path) == ROWS


@pytest.mark.parametrize("name", ["folder", "file/shadow.jsonl"])
def test_a_place_where_nothing_can_be_written_is_an_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match=name.partition("/")[0]):
        JsonLines(tmp_path / name).append(ROWS)


def test_a_row_that_is_half_written_when_it_is_reached_is_taken_whole(tmp_path):
    file, taken = JsonLines(tmp_path / "spill.jsonl"), []
    file.path.write_bytes(b'{"text": "a"}\n{"text": "b')

    def take(lines):
        taken.extend(lines)
        if len(taken) == 1:
            with file.path.open("ab") as writer:
                writer.write(b'c"}\n')

    file.drain(take)
    assert taken == [b'{"text": "a"}\n', b'{"text": "bc"}\n']
    assert file.size_bytes == 0


def test_a_row_that_comes_just_before_the_file_is_emptied_waits_and_stays(tmp_path, monkeypatch):
    file, take_all = JsonLines(tmp_path / "spill.jsonl"), json_lines._take_all
    late = threading.Thread(target=file.append, args=(ROWS[1:],))

    def take_all_and_more_comes(stream, take):
        take_all(stream, take)
        late.start()
        late.join(0.2)
        assert late.is_alive()

    monkeypatch.setattr(json_lines, "_take_all", take_all_and_more_comes)
    file.append(ROWS[:1])
    file.drain(lambda lines: None)
    late.join()
    assert read(file.path) == ROWS[1:]
