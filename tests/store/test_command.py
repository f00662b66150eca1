"""The store from the shell."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from semantic_service.store.__main__ import main
from semantic_service.store.spill import Spill
from semantic_service.store.store import Store
from tests.reviewed import review


@pytest.fixture
def set_(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MODERATION_")]:  # noqa: TID251 - what a developer may have set
        monkeypatch.delenv(name)

    def given(**settings):
        for name, value in ({"spill_file": tmp_path / "spill.jsonl"} | settings).items():
            monkeypatch.setenv(f"MODERATION_{name.upper()}", str(value))

    return given


@pytest.fixture
def aged(url, set_):
    """A store with a post of each age in days."""
    set_(database_url=url)
    store = Store.open(url)
    now = datetime.now(UTC)
    store.add([review(f"{days} days", created_at=(now - timedelta(days=days)).isoformat()) for days in (1, 29, 31, 179, 181)])
    yield store
    store.close()


@pytest.mark.parametrize(
    ("arguments", "left"), [([], {1, 29, 31, 179}), (["--older-than", "30d"], {1, 29}), (["--older-than", "1d"], set())]
)
def test_what_is_older_is_deleted_and_counted(aged, capsys, arguments, left):
    assert main(["delete", *arguments]) == 0
    assert {post.text for post in aged.reviews()} == {f"{days} days" for days in left}
    said = capsys.readouterr().out
    assert said.startswith(f"{5 - len(left)} rows deleted")
    assert f"reviews    {len(left):>12}" in said


def test_the_retention_is_a_setting(aged, set_):
    set_(retention_days=30)
    assert main(["delete"]) == 0
    assert len(list(aged.reviews())) == 2


def test_the_status_counts_what_is_there_and_what_waits(aged, tmp_path, capsys):
    assert main(["status"]) == 0
    assert capsys.readouterr().out.split() == ["reviews", "5", "uncertain", "5", "audit", "0", "feedback", "0", "answers", "0"]
    Spill(tmp_path / "spill.jsonl").keep([review("好")])
    assert main(["status"]) == 0
    assert f"bytes wait in {tmp_path / 'spill.jsonl'}" in capsys.readouterr().out


@pytest.mark.parametrize("period", ["180", "0d", "-1d", "d", "1.5d", "١d", "9999999d"])
def test_what_is_no_period_is_refused(period, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["delete", f"--older-than={period}"])
    assert "is no number of days, such as 180d" in capsys.readouterr().err


def test_a_store_that_is_off_or_away_is_said_in_one_line(set_, tmp_path, capsys):
    for url, said in (("", "use sqlite:///FILE"), (f"postgresql:///x?host={tmp_path}", "connection")):
        set_(database_url=url)
        assert main(["status"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("store: ")
        assert said in line
