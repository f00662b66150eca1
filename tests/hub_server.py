"""A hub on loopback: the calls that huggingface_hub makes to create a repository and commit to it, and what was sent."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback import listening

TOKEN = "hf_test"
MAX_REGULAR_BYTES = 10_000  # larger files go the way of big files (LFS)


@dataclass
class Hub:
    """What the hub holds: `repos` by name, whether they are private; `files` by repository and path. `status` refuses every call."""

    url: str = ""
    repos: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # by sha256
    status: int = 200


@contextmanager
def hub() -> Iterator[Hub]:
    """Listen on a free port of loopback."""
    state = Hub()

    with listening(_Handler, hub=state) as state.url:
        yield state


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self):
        repo = self.path.removeprefix("/api/models/").partition("?")[0]
        if repo in self.hub.repos:
            self.answer({"id": repo, "private": self.hub.repos[repo], "siblings": []})
        else:
            self.answer({"error": "no such repository"}, 404)

    def do_PUT(self):
        self.hub.objects[self.path.rpartition("/")[2]] = self.body()
        self.answer({})

    def do_POST(self):
        body = self.body()
        if self.hub.status != 200:
            self.answer({"error": "not you"}, self.hub.status)
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self.answer({"warnings": [], "errors": []})
        elif self.path.endswith("/preupload/main"):
            modes = {True: "lfs", False: "regular"}
            files = [(file["path"], modes[file["size"] > MAX_REGULAR_BYTES]) for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in files]})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                wanted | {"actions": {"upload": {"href": f"{self.hub.url}/{wanted['oid']}"}}} for wanted in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        else:
            self.commit(self.path.removeprefix("/api/models/").removesuffix("/commit/main"), body)

    def create(self, wanted):
        repo = f"{wanted['organization']}/{wanted['name']}"
        is_new = repo not in self.hub.repos
        self.hub.repos.setdefault(repo, wanted.get("private", False))
        self.answer({"url": f"{self.hub.url}/{repo}"}, 200 if is_new else 409)

    def commit(self, repo, body):
        files = self.hub.files.setdefault(repo, {})
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        self.answer({"commitUrl": f"{self.hub.url}/{repo}/commit/abc", "commitOid": "abc"})

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def answer(self, values, status=200):
        content = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
