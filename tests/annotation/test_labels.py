import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import LabelsError
from annotation.labels import append, count_labels, newest, read_records
from semantic_service.contract.records import Record
from tests.annotation.answers import BAD, GOOD, ODD, at

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def record(text, label, minute=1):
    return Record(text, label, "annotation/uncertain", ("甲",), at(minute))


def texts(folder):
    return {one.text: one.label for one in newest(one for path in sorted(folder.glob("*.jsonl")) for one in read_records(path)).values()}


def test_a_batch_is_one_file_and_the_same_again_writes_none(tmp_path):
    records = [record("一", BAD), record("二", GOOD)]
    written = append(tmp_path, records, NOW)
    assert (written.file, written.added, written.changed) == (tmp_path / "2026-11-25-1.jsonl", 2, 0)
    assert list(read_records(written.file)) == records
    assert append(tmp_path, records, NOW).file is None
    assert [path.name for path in tmp_path.iterdir()] == ["2026-11-25-1.jsonl"]


def test_what_any_file_has_is_not_written_again(tmp_path):
    (tmp_path / "train.jsonl").write_text(record("一", BAD).to_json() + "\n", "utf-8")
    assert append(tmp_path, [record("一", BAD, 9), record("二", GOOD)], NOW).added == 1
    assert append(tmp_path, [record("二", GOOD, 9), record("三", GOOD)], NOW).file.name == "2026-11-25-2.jsonl"
    assert count_labels(tmp_path) == 2


def test_a_changed_label_is_a_newer_line_that_counts(tmp_path):
    append(tmp_path, [record("一", BAD, 1)], NOW)
    written = append(tmp_path, [record("一", GOOD, 2)], NOW)
    assert (written.added, written.changed) == (0, 1)
    assert texts(tmp_path) == {"一": GOOD}
    assert append(tmp_path, [record("一", GOOD, 2)], NOW).file is None


def test_an_older_opinion_does_not_come_back(tmp_path):
    append(tmp_path, [record("一", GOOD, 5)], NOW)
    assert append(tmp_path, [record("一", BAD, 4)], NOW).file is None


batches = st.lists(
    st.lists(st.builds(record, st.sampled_from("一二三四"), st.sampled_from([GOOD, ODD, BAD]), st.integers(0, 9)), max_size=5)
)


@given(batches)
def test_whatever_comes_in_the_newest_label_counts_and_nothing_is_written_twice(tmp_path_factory, some):
    folder = tmp_path_factory.mktemp("labels")
    for batch in some:
        append(folder, batch, NOW)
        size = len(list(folder.iterdir()))
        append(folder, batch, NOW)
        assert len(list(folder.iterdir())) == size
    latest = {}
    for one in (one for batch in some for one in batch):
        latest[one.id] = max(latest.get(one.id, ""), one.created_at)
    kept = newest(one for path in folder.glob("*.jsonl") for one in read_records(path))
    assert kept.keys() == latest.keys()
    by_time = {(one.id, one.created_at, one.label) for batch in some for one in batch}
    assert all((one.id, one.created_at, one.label) in by_time for one in kept.values())


def test_a_broken_line_is_refused_with_its_place_and_without_its_text(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"text": "秘密"}\n', "utf-8")
    with pytest.raises(LabelsError, match=r"mine\.jsonl:1: not a record") as caught:
        append(tmp_path, [record("一", BAD)], NOW)
    assert "秘密" not in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 1


_KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from annotation.labels import append
from semantic_service.contract import bundle
from semantic_service.contract.labels import Label
from semantic_service.contract.records import Record

bundle.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
append(Path(sys.argv[1]), [Record("一", Label.VIOLATION, "annotation/uncertain", ("甲",), "2026-11-25T00:01:00+00:00")], datetime.now(UTC))
"""


def test_a_kill_while_a_batch_is_written_leaves_nothing_half_and_the_next_try_cleans_up(tmp_path):
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False, env=os.environ | {"PYTHONPATH": "."})
    assert done.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("*.jsonl"))
    assert append(tmp_path, [record("一", BAD)], NOW).added == 1
    assert [path.name for path in tmp_path.iterdir()] == ["2026-11-25-1.jsonl"]


def test_the_doctors_list_of_suspects_can_be_read(tmp_path):
    line = record("一", BAD).to_json()
    path = tmp_path / "suspects.jsonl"
    path.write_text(f'{line[:-1]}, "suggested": "compliant", "self_confidence": 0.01}}\n', "utf-8")
    assert list(read_records(path)) == [record("一", BAD)]
