"""A service on loopback that answers as a test tells it to."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback import listening

VERDICT = {
    "request_id": "r-1",
    "label": "violation",
    "label_id": 2,
    "confidence": 0.6,
    "probabilities": {"compliant": 0.1, "suspicious": 0.3, "violation": 0.6},
    "suggestion": "review",
    "uncertain": True,
    "decided_by": "lexicon",
    "hits": [{"term": "彩金", "kind": "deny", "start": 1, "end": 3}],
    "truncated": False,
    "scene": "game",
    "model_version": "m-2",
}


@dataclass
class Scripted:
    """Each of `statuses` is answered once, then 200; `asked` holds the items and headers of each request."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    bad_texts: set[str] = field(default_factory=set)
    body: bytes | None = None
    asked: list = field(default_factory=list)

    def answer(self, items):
        bad = {"error": {"code": "text_too_long", "message": "…", "request_id": "r-1"}}
        results = [(bad if item["text"] in self.bad_texts else VERDICT) | {"data_id": item["data_id"]} for item in items]
        return json.dumps({"results": results, "model_version": "m-2"}).encode()


@contextmanager
def scripted(**script):
    state = Scripted(**script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            items = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["items"]
            state.asked.append((items, dict(self.headers)))
            body = state.body or state.answer(items)
            self.send_response(state.statuses.pop(0) if state.statuses else 200)
            for name, value in (state.headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with listening(Handler) as state.url:
        yield state
