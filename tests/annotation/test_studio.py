"""Posts go to a real Label Studio once, and answers come back, whatever is killed or away."""

import multiprocessing
import random
from collections import Counter

import httpx
import pytest
from pydantic import SecretStr

from annotation import exchange
from annotation.__main__ import main
from annotation.errors import ProjectGoneError
from annotation.exchange import Sender, pull
from annotation.state import State
from annotation.studio import TIMEOUT_S, Studio
from annotation.tasks import asked, choice, to_task
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.text import text_id
from tests.annotation.label_studio import EMAIL, PASSWORD, TOKEN, needs_label_studio
from tests.annotation.posts import posts
from tests.reviewed import review

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_label_studio]

POSTS = 300
KILLS = 20


def fill(store, count=POSTS):
    store.add([review(post) for post in posts(count)])


def tasks(count):
    return [to_task(review(post), Purpose.UNCERTAIN) for post in posts(count)]


def on_board(studio):
    """Count the tasks of each text."""
    return Counter(asked(task.ext_id)[0] for task in studio.tasks())


def expected(count):
    return Counter(text_id(post) for post in posts(count))


@pytest.fixture
def sender(studio, settings):
    return Sender(studio, State(settings.state))


@pytest.fixture
def answer(studio):
    """Answer a task as an annotator does, through the API; gives the annotation's id."""

    def give(task, label, **fields):
        return studio._client.annotations.create(id=task, result=[choice(label)], lead_time=1.5, **fields).id

    return give


def test_init_twice_makes_one_project(settings, capsys):
    assert [main(["init"]), main(["init"])] == [0, 0]
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("project: "))
    assert first == second
    with Studio.find(settings) as studio:
        assert len([project for project in studio._client.projects.list() if project.title == settings.project]) == 1


def test_init_brings_the_interface_up_to_date_and_leaves_the_settings(settings, studio):
    studio._client.projects.update(studio.project, label_config="<View><Text name='a' value='$html'/></View>", sampling="Uniform sampling")
    with Studio.init(settings):
        pass
    project = studio._client.projects.get(studio.project)
    assert project.sampling == "Uniform sampling"
    assert 'alias="violation"' in project.label_config


def test_pushing_twice_sends_nothing_twice(settings, studio, store, capsys):
    fill(store)
    assert [main(["push", "--count", str(POSTS)]) for _ in range(3)] == [0, 0, 0]
    first, second, third = (int(line.split()[0]) for line in capsys.readouterr().out.splitlines())
    assert first >= 0.97 * POSTS  # selection passes over the oddest posts at first
    assert (first + second, third) == (POSTS, 0)
    board = list(studio.tasks())
    assert on_board(studio) == expected(POSTS)
    doubly = [task for task in board if task.annotators == 2]
    assert 0.1 * POSTS < len(doubly) < 0.3 * POSTS  # the second opinions
    assert all(task.overlap == task.annotators for task in board)


def test_a_push_takes_the_next_posts(settings, studio, store):
    fill(store, 30)
    for _ in range(3):
        assert main(["push", "--count", "10"]) == 0
    assert on_board(studio) == expected(30)


def test_a_push_that_is_killed_again_and_again_loses_and_doubles_nothing(settings, studio, store, monkeypatch):
    fill(store)
    monkeypatch.setattr(exchange, "CHUNK_TASKS", 10)  # more moments to be killed in
    assert main(["push", "--count", "1"]) == 0
    forked = multiprocessing.get_context("fork")  # a fresh interpreter would spend its life importing
    chance = random.Random(7)
    for _ in range(KILLS):
        push = forked.Process(target=main, args=(["push", "--count", str(POSTS)],))
        push.start()
        push.join(chance.uniform(0.02, 1.0))
        push.kill()
        push.join()
    assert main(["push", "--count", str(POSTS)]) == 0
    assert len(on_board(studio)) >= 0.97 * POSTS  # selection passes over the oddest posts at first: fewer than a killed chunk has
    assert main(["push", "--count", str(POSTS)]) == 0
    assert on_board(studio) == expected(POSTS)
    assert all(task.overlap == task.annotators for task in studio.tasks())


def test_what_a_killed_push_had_under_way_is_waited_for(settings, studio, sender, monkeypatch):
    state, some = State(settings.state), tasks(3)
    state.note_under_way(studio.project, [task["data"]["ext_id"] for task in some])
    monkeypatch.setattr(exchange.time, "sleep", lambda _: studio.add(some))  # Label Studio finishes it meanwhile
    assert sender.send(lambda sent: some) == 0
    assert set(on_board(studio).values()) == {1}


def test_what_never_arrived_is_sent_again(settings, studio, sender, monkeypatch):
    state, some = State(settings.state), tasks(3)
    monkeypatch.setattr(exchange, "GRACE_S", 0.0)
    state.note_under_way(studio.project, [task["data"]["ext_id"] for task in some])
    assert sender.send(lambda sent: some) == 3


def test_of_doubles_the_one_with_work_in_it_stays(settings, studio, sender, answer):
    studio.add(tasks(3))
    studio.add(tasks(3))
    board = list(studio.tasks())
    answer(board[4].id, Label.VIOLATION)
    assert sender.send(lambda sent: []) == 0
    assert [task.id for task in studio.tasks()] == [board[0].id, board[2].id, board[4].id]


def test_pulling_pages_and_fetches_only_what_changed(settings, studio, answer, monkeypatch):
    monkeypatch.setattr("annotation.studio.PAGE_ANSWERED", 4)
    monkeypatch.setattr("annotation.studio.PAGE_TASKS", 3)
    monkeypatch.setattr(exchange, "OVERLAP", exchange.timedelta(0))
    monkeypatch.setattr(exchange, "BATCH_ANSWERS", 5)
    studio.add(tasks(12))
    board = [task.id for task in studio.tasks()]
    given = {answer(task, label): label for task, label in zip(board[:10], [*Label, None] * 3, strict=False)}
    state, saved = State(settings.state), []

    def save(answers):
        saved.extend(answers)
        return len(answers)

    assert pull(studio, state, save).changed == 10
    assert {answer.annotation_id: answer.label for answer in saved} == given
    assert {(answer.annotator, answer.purpose, answer.model_version) for answer in saved} == {(EMAIL, Purpose.UNCERTAIN, "tiny-1")}
    assert pull(studio, state, save).changed == 0
    new = answer(board[10], Label.COMPLIANT)
    assert pull(studio, state, save).changed == 1
    assert saved[-1].annotation_id == new


def test_a_corrected_answer_replaces_the_earlier_one(settings, studio, store, answer):
    studio.add(tasks(1))
    annotation = answer(next(studio.tasks()).id, Label.COMPLIANT)
    assert main(["pull"]) == 0
    studio._client.annotations.update(id=annotation, result=[choice(Label.VIOLATION)])
    assert main(["pull"]) == 0
    assert [answer.label for answer in store.answers()] == [Label.VIOLATION]


def test_what_was_skipped_or_is_no_answer_is_left_out(settings, studio, store, answer, capsys):
    studio.add(tasks(3))
    first, second, third = (task.id for task in studio.tasks())
    answer(first, Label.VIOLATION)
    answer(second, Label.VIOLATION, was_cancelled=True)
    studio._client.annotations.create(id=third, result=[])
    assert main(["pull"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 answers new or changed\n")
    assert "one label is needed, got 0" in said.err
    assert [answer.task_id for answer in store.answers()] == [first]


def test_status_says_what_waits_and_who_answered(settings, studio, store, answer, capsys):
    studio.add(tasks(3))
    answer(next(studio.tasks()).id, None)
    main(["pull"])
    capsys.readouterr()
    assert main(["status"]) == 0
    table = {line[:32].strip(): line[32:].strip() for line in capsys.readouterr().out.splitlines()}
    assert table.pop("last pull").startswith("20")
    assert table == {
        "project": studio.page,
        "tasks": "3",
        "waiting for answers": "2",
        "answered in full": "1",
        f"answers by {EMAIL}": "1 (1 can't tell)",
        "posts undecided": "1",
        "agreement, Fleiss' kappa": "not known: nobody has answered the same post as another",
    }


def test_a_personal_access_token_serves_as_well(settings, server, studio):
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as browser:
        browser.get("/user/login/")
        form = {"email": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post("/user/login/", data=form, headers={"Referer": server.url})
        made = browser.post("/api/token/", headers={"X-CSRFToken": browser.cookies["csrftoken"], "Referer": server.url})
    with Studio.find(settings.model_copy(update={"token": SecretStr(made.json()["token"])})) as personal:
        assert personal.project == studio.project
        assert personal.counts().tasks == 0


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        (("TOKEN", "0" * 40), "does not take the token (401): copy one from"),
        (("TOKEN", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl"), "does not take the token (401): copy one from"),  # ran out in 1970
        (("URL", "http://127.0.0.1:9"), "is Label Studio running"),
        (("PROJECT", "another"), "`python -m annotation init` makes it"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(variables, monkeypatch, capsys, variable, says):
    monkeypatch.setenv(f"ANNOTATION_{variable[0]}", variable[1])
    for command in ("push", "pull", "status"):
        assert main([command]) == 2
        assert says in capsys.readouterr().err


def test_a_project_that_was_deleted_is_missed(studio, sender):
    studio._client.projects.delete(studio.project)
    with pytest.raises(ProjectGoneError):
        sender.send(lambda sent: tasks(1))
    with pytest.raises(ProjectGoneError):
        list(studio.answered())


def test_the_least_sure_post_is_served_first(server, studio, sender):
    sender.send(lambda sent: [to_task(review("较有把握"), Purpose.UNCERTAIN), *tasks(2)])
    sure = {task.ext_id: task.id for task in studio.tasks()}
    unsure = to_task(review("拿不准"), Purpose.UNCERTAIN)
    unsure["predictions"][0]["score"] = 0.34
    sender.send(lambda sent: [unsure])
    served = httpx.get(
        f"{server.url}/api/projects/{studio.project}/next", headers={"Authorization": f"Token {TOKEN}"}, timeout=TIMEOUT_S
    ).json()
    assert served["data"]["ext_id"] == unsure["data"]["ext_id"] not in sure


def test_a_scored_dump_can_be_pushed(studio, store, tmp_path, capsys):
    scores = [f"p_{label.english}" for label in Label]
    columns = ["text", "label", *scores, "suggestion", "uncertain", "decided_by", "model_version", "error"]
    rows = [[post, "suspicious", "0.3", "0.5", "0.2", "review", "true", "model", "tiny-1", ""] for post in posts(3)]
    (tmp_path / "scored.tsv").write_text("\n".join("\t".join(row) for row in [columns, *rows, ["x"]]), encoding="utf-8")
    assert main(["push", "--from", str(tmp_path / "scored.tsv")]) == 0
    assert on_board(studio) == expected(3)
    assert "scored.tsv:5: 1 columns" in capsys.readouterr().err
