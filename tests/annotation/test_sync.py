"""`sync` as a process of its own, between a real Label Studio, the store and an annotator."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from annotation.settings import SECRET_HEADER
from annotation.tasks import choice
from semantic_service.contract.labels import Label
from tests.annotation.label_studio import needs_label_studio
from tests.annotation.posts import posts
from tests.deadline import until
from tests.reviewed import review
from tests.served import PROJECT, free_port, killed_in_the_end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_label_studio]

SECRET = "a-secret-of-the-operator"
PATIENCE_S = 300.0


@pytest.fixture
def webhook(variables, monkeypatch):
    port = free_port()
    url = f"http://127.0.0.1:{port}/webhook"
    for name, value in {"PORT": str(port), "URL": url, "SECRET": SECRET}.items():
        monkeypatch.setenv(f"ANNOTATION_WEBHOOK_{name}", value)
    return url


@contextmanager
def syncing(folder, interval):
    """Run `sync` in the test's environment; gives a function that reads what it has said, and the process."""
    command = [sys.executable, "-m", "annotation", "sync", "--interval", str(interval)]
    with (folder / "sync.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=os.environ, stdout=log, stderr=log)  # noqa: TID251 - what the fixtures set
    with killed_in_the_end(process):
        yield lambda: (folder / "sync.log").read_text("utf-8"), process


def test_posts_go_out_and_answers_come_in_over_an_outage(server, studio, store, tmp_path):
    store.add([review(post) for post in posts(20)])
    with syncing(tmp_path, 0.5) as (said, process):
        board = until(lambda: len(there := list(studio.tasks())) == 20 and there, PATIENCE_S)
        server.stop()
        until(lambda: "trying again every 0.5 s" in said(), PATIENCE_S)
        store.add([review(post) for post in posts(60, first=20)])
        server.start()
        studio._client.annotations.create(id=board[0].id, result=[choice(Label.VIOLATION)])
        until(lambda: len(list(studio.tasks())) == 80, PATIENCE_S)
        until(lambda: store.answers() and "all is well again" in said(), PATIENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert said().count("trying again") == said().count("all is well again") == 1
    assert said().endswith("stopped\n")
    assert "Traceback" not in said()
    assert [answer.label for answer in store.answers()] == [Label.VIOLATION]


def test_an_answer_arrives_at_once_by_webhook_and_only_with_the_secret(webhook, studio, store, tmp_path, capsys):
    from annotation.__main__ import main  # noqa: PLC0415 - beside the environment that it reads

    assert main(["init"]) == main(["init"]) == 0
    assert f"webhook: {webhook}" in capsys.readouterr().out
    assert [hook.url for hook in studio._client.webhooks.list(project=str(studio.project))] == [webhook]
    store.add([review("来赌一把")])
    with syncing(tmp_path, 3600) as (said, process):
        until(lambda: "1 tasks sent" in said(), PATIENCE_S)
        assert httpx.post(webhook, headers={SECRET_HEADER: "wrong"}).status_code == 401
        studio._client.annotations.create(id=next(studio.tasks()).id, result=[choice(None)])
        until(store.answers, PATIENCE_S)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert said().endswith("stopped\n")


def test_a_wrong_token_ends_it_at_the_beginning(variables, monkeypatch, tmp_path):
    monkeypatch.setenv("ANNOTATION_TOKEN", "0" * 40)
    with syncing(tmp_path, 60) as (said, process):
        assert process.wait(PATIENCE_S) == 2
    assert "does not take the token (401)" in said()
