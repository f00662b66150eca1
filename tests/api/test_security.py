import hashlib

import pytest
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.api.security import Keys, KeysError, Scope, is_loopback
from semantic_service.engine.workers import Workers

FORUM, OPERATOR = "forum-key", "operator-key"
POST = {"text": "今天天气真好"}


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def guarded(live):
    keys = Keys({digest(FORUM): frozenset({Scope.CLASSIFY}), digest(OPERATOR): frozenset({Scope.ADMIN})})
    with TestClient(create_app(live, Workers(threads=1, bound=16), keys)) as client:
        yield client


@pytest.mark.parametrize("headers", [{"X-API-Key": FORUM}, {"Authorization": f"Bearer {FORUM}"}])
def test_a_key_with_the_scope_is_served(guarded, headers):
    assert guarded.post("/classify", json=POST, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "guess"}, {"Authorization": "Basic Zm9ydW0="}, {"X-API-Key": digest(FORUM)}])
def test_no_known_key_is_401_in_the_one_error_shape(guarded, headers):
    answer = guarded.post("/classify", json=POST, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "route"), [("GET", "/metrics"), ("GET", "/models/current"), ("POST", "/models/reload")])
def test_a_key_without_the_scope_is_403(guarded, method, route):
    answer = guarded.request(method, route, headers={"X-API-Key": FORUM})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden"
    assert guarded.request(method, route, headers={"X-API-Key": OPERATOR}).status_code == 200


@pytest.mark.parametrize("route", ["/live", "/ready", "/", "/docs", "/openapi.json"])
def test_probes_and_pages_need_no_key(guarded, route):
    assert guarded.get(route).status_code == 200


def test_a_keys_file_is_read(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(f'[forum]\nsha256 = "{digest(FORUM)}"\nscopes = ["classify", "review"]\n')
    assert Keys.read(path).scopes(FORUM) == {Scope.CLASSIFY, Scope.REVIEW}
    assert Keys.read(path).scopes(OPERATOR) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no key"),
        ("[forum]\nsha256 = 1", "must hold sha256 and scopes"),
        ('[forum]\nsha256 = "abc"\nscopes = ["classify"]', "64 lower-case hex digits"),
        (f'[forum]\nsha256 = "{"0" * 64}"\nscopes = ["root"]', "classify, review, admin"),
        (f'[forum]\nsha256 = "{"0" * 64}"\nscopes = []', "classify, review, admin"),
        (f'[forum]\nsha256 = "{"0" * 64}"\nscopes = [1]', "classify, review, admin"),
        (f'[forum]\nsha256 = "{"0" * 64}"\nscopes = [["admin"]]', "classify, review, admin"),
        ("forum = 3", "must hold sha256 and scopes"),
        ("[forum", "not TOML"),
    ],
)
def test_a_keys_file_that_cannot_be_used_is_refused_by_name(tmp_path, text, reason):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(KeysError, match=reason) as refused:
        Keys.read(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("host", "answer"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("forum.example", False)]
)
def test_only_this_machines_addresses_are_loopback(host, answer):
    assert is_loopback(host) is answer
