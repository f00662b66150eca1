import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semantic_service.api.middleware import MAX_BODY_BYTES
from tests.api.answers import check, error_of
from tests.strategies import any_text

JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 100_000 + b"]" * 100_000
EMPTY, INVALID, LONG = (422, "empty_text"), (422, "invalid_field"), (422, "text_too_long")
MALFORMED, LARGE = (400, "malformed"), (413, "body_too_large")


def text(value):
    return json.dumps({"text": value}).encode()


REFUSED = {
    "empty text": (text(""), EMPTY),
    "white space": (text(" \t\r\n\u3000"), EMPTY),
    "zero width": (text("\u200b\u200d\ufeff\u2060"), EMPTY),
    "NULs alone": (text("\0\0"), EMPTY),
    "1 MB of text": (text("a" * 1_000_000), LONG),
    "4 MB of text": (text("a" * MAX_BODY_BYTES), LARGE),
    "a lone surrogate": (b'{"text": "\\ud800"}', INVALID),
    "a lone surrogate in a text": (b'{"text": "\\u597d\\udfff\\u597d"}', INVALID),
    "a lone surrogate as data_id": (b'{"text": "a", "data_id": "\\ud800"}', INVALID),
    "a lone surrogate as scene": (b'{"text": "a", "scene": "\\ud800"}', INVALID),
    "a lone surrogate as field": (b'{"text": "a", "\\ud800": 1}', INVALID),
    "no body": (b"", INVALID),
    "cut off": (b'{"text": "a', MALFORMED),
    "no JSON": (b"text=a", MALFORMED),
    "two objects": (b'{"text": "a"}{"text": "b"}', MALFORMED),
    "invalid UTF-8": (b'{"text": "\xff\xfe"}', MALFORMED),
    "GBK": ('{"text": "好"}'.encode("gbk"), MALFORMED),
    "deeply nested": (DEEP, MALFORMED),
    "a deeply nested text": (b'{"text": ' + DEEP + b"}", MALFORMED),
    "a nested text": (b'{"text": ' + b"[" * 500 + b"]" * 500 + b"}", INVALID),
    "a huge number": (b'{"text": ' + b"9" * 10_000 + b"}", MALFORMED),
    "NaN": (b'{"text": NaN}', INVALID),
    "no object": (b'["a"]', INVALID),
    "null": (b"null", INVALID),
    "a text alone": (b'"a"', INVALID),
    "no text": (b"{}", INVALID),
    "text null": (text(None), INVALID),
    "text a number": (text(7), INVALID),
    "text a boolean": (text(True), INVALID),
    "text a list": (text(["a"]), INVALID),
    "an unknown field": (b'{"text": "a", "txet": "b"}', INVALID),
    "scene a number": (b'{"text": "a", "scene": 7}', INVALID),
    "scene too long": (b'{"text": "a", "scene": "%s"}' % (b"s" * 65), INVALID),
    "data_id a number": (b'{"text": "a", "data_id": 7}', INVALID),
    "data_id too long": (b'{"text": "a", "data_id": "%s"}' % (b"d" * 257), INVALID),
}
JUDGED = {
    "emoji": "😀👍🏽👨‍👩‍👧",
    "right to left": "مرحبا שלום \u202eabc",
    "NULs in a text": "来\0赌",
    "combining marks": "Z͑ͫ̓ͪ̂ͫ̽͏a",
    "a bell": "好\a",
    "an astral character": "𠮷",
    "markup": "<script>alert('1')</script>'; DROP TABLE posts; --",
}
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(any_text, children, max_size=4),
    max_leaves=8,
)
almost_request = st.fixed_dictionaries(
    {}, optional={"text": any_text | any_json, "scene": any_json, "data_id": any_text | any_json, "x": any_json}
)
almost_batch = st.fixed_dictionaries({"items": st.lists(almost_request | any_json, max_size=4)})


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_body_is_refused_in_words(client, name):
    body, (status, code) = REFUSED[name]
    response = client.post("/classify", content=body, headers=JSON)
    assert error_of(response, status) == code
    assert len(response.content) < 1000


@pytest.mark.parametrize("name", JUDGED)
def test_an_odd_text_is_judged(client, name):
    response = client.post("/classify", json={"text": JUDGED[name], "data_id": name})
    assert response.status_code == 200
    assert response.json()["label"] in {"compliant", "suspicious", "violation"}


@pytest.mark.parametrize("route", ["/classify", "/classify/batch"])
def test_a_body_over_the_bound_is_refused_before_it_is_read(client, route):
    sent = []

    def pieces():
        for _ in range(100):
            sent.append(True)
            yield b" " * MAX_BODY_BYTES

    headers = JSON | {"Content-Length": str(100 * MAX_BODY_BYTES)}
    assert error_of(client.post(route, content=pieces(), headers=headers), 413) == "body_too_large"
    assert not sent


@pytest.mark.parametrize("route", ["/classify", "/classify/batch"])
def test_a_body_over_the_bound_without_a_length_is_refused(client, route):
    response = client.post(route, content=iter([b'{"text": "', b"a" * MAX_BODY_BYTES, b'"}']), headers=JSON)
    assert "content-length" not in response.request.headers
    assert error_of(response, 413) == "body_too_large"
    assert f"{MAX_BODY_BYTES:,}" in response.json()["error"]["message"]


def test_a_body_just_within_the_bound_is_read(client):
    body = text("好").rjust(MAX_BODY_BYTES)
    assert client.post("/classify", content=body, headers=JSON).status_code == 200
    assert error_of(client.post("/classify", content=b" " + body, headers=JSON), 413) == "body_too_large"


def test_an_error_names_the_field_but_not_its_value(client):
    message = client.post("/classify", json={"text": "好", "data_id": ["用户的话"]}).json()["error"]["message"]
    assert "data_id" in message
    assert "用户的话" not in message


def test_many_bad_fields_make_a_short_message(client):
    response = client.post("/classify", json={f"field{number}": 1 for number in range(1000)})
    assert error_of(response, 422) == "invalid_field"
    assert len(response.content) < 1000


def test_a_long_field_name_makes_a_short_message(client):
    assert len(client.post("/classify", json={"text": "好", "f" * 100_000: 1}).content) < 2000


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"])
def test_a_body_of_another_type_is_refused(client, kind):
    assert error_of(client.post("/classify", content=text("好"), headers={"Content-Type": kind}), 422) == "invalid_field"


@given(body=any_json | almost_request)
@example(body={"text": "a", "\ud800": 1})
def test_any_json_is_judged_or_refused(client, body):
    check(client.post("/classify", content=json.dumps(body), headers=JSON))


@given(body=any_json | almost_batch)
@example(body={"items": [{"text": 1, "data_id": "\ud800"}, {"\ud800": 1}]})
def test_any_json_as_a_batch_is_judged_or_refused(client, body):
    check(client.post("/classify/batch", content=json.dumps(body), headers=JSON))


@given(body=st.binary(max_size=200))
def test_any_bytes_are_judged_or_refused(client, body):
    check(client.post("/classify", content=body, headers=JSON))
