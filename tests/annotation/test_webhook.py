import http.client
import json
import socket
import threading

import pytest
from starlette.testclient import TestClient

from annotation.errors import WebhookPortError
from annotation.settings import SECRET_HEADER
from annotation.webhook import PATH, create_app, receiving

SECRET = "a secret of the operator's"
EVENT = {"action": "ANNOTATION_CREATED", "annotation": {"id": 1}, "task": {"id": 1}, "project": {"id": 1}}


@pytest.fixture
def heard():
    return []


@pytest.fixture
def client(heard):
    return TestClient(create_app(SECRET, lambda: heard.append(1)))


def post(client, body, secret=SECRET):
    return client.post(PATH, content=body if isinstance(body, bytes) else json.dumps(body), headers={SECRET_HEADER: secret})


@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"])
def test_an_event_about_annotations_is_heard(client, heard, action):
    assert post(client, EVENT | {"action": action}).status_code == 204
    assert heard


@pytest.mark.parametrize("secret", ["", "another", SECRET[:-1], SECRET + " x"])
def test_without_the_secret_nothing_is_heard(client, heard, secret):
    assert post(client, EVENT, secret).status_code == 401
    assert client.post(PATH, json=EVENT).status_code == 401
    assert not heard


@pytest.mark.parametrize(
    "body", [{"action": "PROJECT_UPDATED"}, {"action": None}, {}, [], "x", b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=repr
)
def test_what_it_does_not_know_is_let_pass(client, heard, body):
    assert post(client, body).status_code == 204
    assert not heard


def test_nothing_else_is_there(client):
    assert [client.get(path).status_code for path in ("/", "/docs", "/openapi.json", PATH)] == [404, 404, 404, 405]


def test_it_listens_until_the_end_and_not_longer():
    heard = threading.Event()
    with receiving(("127.0.0.1", 0), SECRET, heard.set) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", PATH, json.dumps(EVENT), {SECRET_HEADER: SECRET})
        assert connection.getresponse().status == 204
        connection.close()
        assert heard.is_set()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 30)


def test_an_address_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WebhookPortError, match=f"can't listen at 127.0.0.1:{port}"), receiving(("127.0.0.1", port), SECRET, print):
            pass
