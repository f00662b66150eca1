import json

import pytest

from annotation.__main__ import main
from semantic_service.contract.text import text_id
from semantic_service.store.store import Store
from tests.annotation.judged import review
from tests.annotation.scripted import scripted

FLOOD = [f"注册即送彩金，百家乐老虎机应有尽有，提现秒到账，加微 {number}" for number in range(30)]


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path}/moderation.db"
    opened = Store.open(url)
    opened.add([review(text) for text in [*FLOOD, "一二三四五", "六七八九十"]])
    opened.close()
    return url


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_ranked_choice_is_written_and_counted(store, tmp_path, capsys):
    out = tmp_path / "chosen.jsonl"
    assert main(["select", store, "--count", "50", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"3 of 32 posts, 0 of them drawn at random: {out}\n"
    assert sorted(post["stands_for"] for post in lines(out)) == [1, 1, 30]
    assert {"text", "purpose", "label", "confidence", "model_version"} <= lines(out)[0].keys()


def test_labelled_texts_are_left_out(store, tmp_path, monkeypatch):
    labels, out = tmp_path / "labels", tmp_path / "chosen.jsonl"
    labels.mkdir()
    monkeypatch.setenv("ANNOTATION_DATA", str(labels))
    record = {
        "id": text_id("一二三四五"),
        "text": "一二三四五",
        "label": "compliant",
        "source": "s",
        "annotators": [],
        "created_at": "2026-11-22",
    }
    (labels / "2026-11-22-1.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert main(["select", store, "--out", str(out)]) == 0
    assert {post["text"] for post in lines(out)} & {"一二三四五", "六七八九十"} == {"六七八九十"}


def test_unscored_texts_are_judged_with_the_key_and_bad_rows_are_told(tmp_path, capsys, monkeypatch):
    posts, out = tmp_path / "posts.txt", tmp_path / "chosen.jsonl"
    posts.write_text("好\n\n也好\n", encoding="utf-8")
    monkeypatch.setenv("ANNOTATION_SERVICE_KEY", "secret")
    with scripted() as state:
        monkeypatch.setenv("ANNOTATION_SERVICE_URL", state.url)
        assert main(["select", str(posts), "--out", str(out)]) == 0
    assert {post["text"] for post in lines(out)} == {"好", "也好"}
    assert state.asked[0][1]["X-API-Key"] == "secret"
    assert f"{posts}:2: no text in 'text'; skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.tsv"], "none.tsv: can't be read"),
        (["mysql://x/y"], "sqlite"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(tmp_path, capsys, arguments, said):
    assert main(["select", *arguments, "--out", str(tmp_path / "chosen.jsonl")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "chosen.jsonl").exists()
