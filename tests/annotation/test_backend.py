import base64
import hashlib
import json
from contextlib import contextmanager
from http.client import HTTPConnection
from threading import Thread

import pytest
import uvicorn
from starlette.testclient import TestClient

from annotation.__main__ import main
from annotation.backend import create_app, find_target
from annotation.errors import InterfaceError, ServiceError
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.reviews import Review
from semantic_service.contract.verdict import Suggestion
from tests.annotation.label_studio import needs_label_studio
from tests.deadline import PATIENCE_S, until
from tests.served import LOOPBACK, free_port, killed_in_the_end, serving, start

INTERFACE = """<View>
  <HyperText name="post" value="$html"/>
  <Choices name="mood" toName="post"><Choice value="好"/><Choice value="坏"/></Choices>
  <Choices name="verdict" toName="post">
    <Choice value="合规" alias="compliant" hotkey="1"/><Choice value="疑似" alias="suspicious" hotkey="2"/>
    <Choice value="违规" alias="violation" hotkey="3"/><Choice value="无法判断" alias="cant_tell" hotkey="4"/>
  </Choices>
</View>"""
PLAIN = """<View><Text name="t" value="$content"/><Choices name="c" toName="t">
<Choice value="正常"/><Choice value="可疑"/><Choice value="违规"/></Choices></View>"""
PASSWORD = "a long password"


class FakeService:
    """Sees a violation in every text with 赌, and can be down."""

    is_down = False

    def judge(self, posts):
        self.model_version()
        for post in posts:
            label = Label.VIOLATION if "赌" in post.text else Label.COMPLIANT
            shares = (0.25, 0.0, 0.75) if label else (0.75, 0.25, 0.0)
            yield Review(post.text, shares, label, Suggestion.REVIEW, "v1", "2026-01-02", False) if post.text else "empty"

    def model_version(self):
        if self.is_down:
            raise ServiceError("the moderation service does not answer")
        return "v1"


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def client(service):
    with TestClient(create_app(service)) as client:
        yield client


def predict(client, *data, interface=INTERFACE):
    tasks = [{"id": number, "data": some} for number, some in enumerate(data)]
    return client.post("/predict", json={"tasks": tasks, "project": "1.2", "label_config": interface, "params": {}})


def test_a_guess_is_said_in_the_terms_of_the_projects_interface(client):
    answer = predict(client, {"text": "来赌", "html": "<b>来赌</b>"})
    choice = {"from_name": "verdict", "to_name": "post", "type": "choices", "value": {"choices": ["violation"]}}
    assert answer.json() == {"results": [{"result": [choice], "score": 0.75, "model_version": "v1"}]}


def test_an_interface_of_somebody_elses_is_understood_by_its_labels(client):
    [result] = predict(client, {"content": "好天气"}, interface=PLAIN).json()["results"]
    assert result["result"][0] == {"from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": ["正常"]}}


def test_every_task_has_its_place_also_one_that_can_not_be_judged(client):
    results = predict(client, {"text": "来赌"}, {"text": ""}, {}, {"text": 3}, {"text": "好"}).json()["results"]
    assert [bool(result) for result in results] == [True, False, False, False, True]
    assert results[4]["result"][0]["value"]["choices"] == ["compliant"]


@pytest.mark.parametrize("purpose", [Purpose.RANDOM, Purpose.ADJUDICATION])
def test_no_guess_is_shown_where_people_are_to_judge_by_themselves(client, purpose):
    assert predict(client, {"text": "来赌", "purpose": purpose}).json() == {"results": [[]]}


def test_health_answers_though_the_service_is_down(client, service):
    service.is_down = True
    assert client.get("/health").json()["status"] == "UP"


@pytest.mark.parametrize(("method", "path"), [("POST", "/setup"), ("GET", "/versions")])
def test_the_model_is_named(client, method, path):
    assert "v1" in client.request(method, path, json={"project": "1.2", "schema": INTERFACE}).text


def test_a_service_that_is_down_is_told_in_words(client, service):
    service.is_down = True
    for answer in (client.post("/setup", json={}), client.get("/versions"), predict(client, {"text": "来赌"})):
        assert (answer.status_code, answer.json()) == (503, {"detail": "the moderation service does not answer"})


@pytest.mark.parametrize("interface", ["<View>", "no XML", '<View><Text name="t" value="$text"/></View>', PLAIN.replace("可疑", "奇怪")])
def test_an_interface_without_our_labels_is_refused_in_words(client, interface):
    answer = predict(client, {"text": "来赌"}, interface=interface)
    assert answer.status_code == 422
    assert "the labelling interface" in answer.json()["detail"]
    with pytest.raises(InterfaceError):
        find_target(interface)


def test_only_the_button_starts_a_training_and_only_with_the_password(service):
    started = []
    app = create_app(service, PASSWORD, lambda: not started and not started.append(1))
    with TestClient(app) as client:
        press = {"action": "START_TRAINING", "project": {"id": 1}}
        for auth in (None, ("any", "wrong")):
            assert client.post("/webhook", json=press, auth=auth).status_code == 401
        client.auth = ("any", PASSWORD)
        assert client.post("/webhook", json={"action": "ANNOTATION_CREATED", "annotation": {}}).json() == {"status": "ignored"}
        assert started == []
        assert [client.post("/webhook", json=press).json()["status"] for _ in range(2)] == ["started", "a training is under way already"]


def test_without_a_config_the_button_says_that_training_is_off(client):
    answer = client.post("/webhook", json={"action": "START_TRAINING"})
    assert answer.status_code == 409
    assert "--train CONFIG" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], "lets other machines in"),
        (["--train", "training/configs/lora.yaml"], "--password-file"),
        (["--password-file", "gone"], "gone: can't be read"),
    ],
)
def test_a_backend_that_strangers_could_use_does_not_start(arguments, reason, capsys):
    assert main(["backend", *arguments]) == 2
    assert reason in capsys.readouterr().err


def ask(port, method, path, body=None):
    connection = HTTPConnection(LOOPBACK, port, timeout=PATIENCE_S)
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {base64.b64encode(f'ls:{PASSWORD}'.encode()).decode()}"}
    try:
        connection.request(method, path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.timeout(180)  # the machine may be busy, and two servers start
def test_label_studio_would_get_the_real_services_guesses_and_an_error_once_it_is_gone(tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "password").write_text(PASSWORD, "utf-8")
    monkeypatch.setenv("ANNOTATION_SERVICE_KEY", "forum")
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[forum]\nsha256 = "{hashlib.sha256(b"forum").hexdigest()}"\nscopes = ["classify"]\n', "utf-8")
    port, log, task = free_port(), tmp_path / "backend.log", [{"id": 1, "data": {"text": "来赌一把"}}, {"id": 2, "data": {"text": " "}}]
    with serving(tiny_bundle.path, tmp_path, keys=keys) as service:
        monkeypatch.setenv("ANNOTATION_SERVICE_URL", f"http://{LOOPBACK}:{service.port}")
        arguments = ["backend", "--port", port, "--password-file", tmp_path / "password"]
        with killed_in_the_end(start(tiny_bundle.path, log, module="annotation", arguments=arguments)) as process:
            until(lambda: process.poll() is not None or ask(port, "GET", "/health"), 3 * PATIENCE_S)
            assert process.poll() is None, log.read_text("utf-8")
            assert ask(port, "POST", "/setup", {"project": "1.2"}) == (200, {"model_version": "tiny-1"})
            status, answer = ask(port, "POST", "/predict", {"tasks": task * 300, "label_config": INTERFACE})
            assert (status, len(answer["results"])) == (200, 600)
            assert answer["results"][598]["result"][0]["value"]["choices"] == ["violation"]
            assert answer["results"][599] == []
            service.stop()
            status, answer = ask(port, "POST", "/predict", {"tasks": task, "label_config": INTERFACE})
            assert status == 503
            assert "does not answer" in answer["detail"]
            assert ask(port, "GET", "/health")[0] == 200


@contextmanager
def connected(app):
    """Run a backend until the block ends; gives its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host=LOOPBACK, port=port, log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_label_studio
def test_a_real_label_studio_connects_it_shows_its_guesses_and_starts_a_training(studio, service):
    client, started, project = studio._client, [], studio.project
    client.projects.import_tasks(project, request=[{"text": text, "html": text} for text in ("来赌一把", "今天天气真好")])
    with connected(create_app(service, PASSWORD, lambda: not started.append(1))) as url:
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": "any", "basic_auth_pass": PASSWORD}
        backend = client.ml.create(url=url, project=project, title="moderation", **login)
        assert client.ml.get(backend.id).state == "CO"  # connected
        client.actions.create(id="retrieve_tasks_predictions", project=project, selected_items={"all": True, "excluded": []})
        guesses = {task.data["text"]: task.predictions for task in client.tasks.list(project=project, fields="all")}
        client.ml.train(backend.id)
    shown = {text: [guess.result[0]["value"]["choices"] for guess in given] for text, given in guesses.items()}
    assert shown == {"来赌一把": [["violation"]], "今天天气真好": [["compliant"]]}
    assert started == [1]
