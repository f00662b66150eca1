"""What Label Studio, or a proxy before it, can answer instead of what was asked for."""

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import label_studio_sdk.core.http_client
import pytest

from annotation.errors import ProjectGoneError, RefusedError, ServerFailedError, TokenError, TooManyError, UnreachableError
from annotation.settings import Settings
from annotation.studio import Studio
from annotation.tasks import to_task
from semantic_service.contract.answers import Purpose
from tests.loopback import listening
from tests.reviewed import review

HTML = b"<html>nginx</html>"


@contextmanager
def answering(status, body):
    """Answer every request so; gives the address and the requests."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.command)
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

    with listening(Handler) as address:
        yield address, asked


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(label_studio_sdk.core.http_client, "_retry_timeout", lambda **_: 0)


@pytest.mark.parametrize("body", [b'{"detail": "no"}', HTML])
@pytest.mark.parametrize(
    ("status", "error", "requests"),
    [
        (401, TokenError, 1),
        (403, TokenError, 1),
        (404, ProjectGoneError, 1),
        (400, RefusedError, 1),
        (429, TooManyError, 3),
        (500, ServerFailedError, 3),
        (503, ServerFailedError, 3),
    ],
)
def test_each_refusal_has_an_error_and_reading_is_tried_again_where_that_helps(status, body, error, requests):
    with (
        answering(status, body) as (url, asked),
        pytest.raises(error, match=f"^{url} .*{status}"),
        Studio.find(Settings(url=url, token="x")),
    ):
        pass
    assert asked == ["GET"] * requests


@pytest.mark.parametrize("body", [HTML, b"", b"[]", b"{}", b'{"results": 1}'])
def test_an_answer_that_is_not_label_studios_is_refused(body):
    with (
        answering(200, body) as (url, _),
        pytest.raises((RefusedError, ProjectGoneError), match=f"^{url} "),
        Studio.find(Settings(url=url, token="x")),
    ):
        pass


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_import_is_never_repeated(status):
    with answering(status, HTML) as (url, asked):
        found = Studio(label_studio_sdk.LabelStudio(base_url=url, api_key="x"), url, 1)
        with pytest.raises((TooManyError, ServerFailedError)):
            found.add([to_task(review("来赌一把"), Purpose.UNCERTAIN)])
    assert asked == ["POST"]


def test_an_address_that_is_none_is_named():
    with pytest.raises(UnreachableError, match="ANNOTATION_URL"), Studio.find(Settings(url="nonsense", token="x")):
        pass
