"""A real Label Studio, started without a human and without a connection to the outside."""

import shutil
import sqlite3
import subprocess
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deadline import PATIENCE_S, until
from tests.served import LOOPBACK, PROJECT, free_port

ENVIRONMENT = PROJECT / ".venv" / "label-studio"
PROGRAM = ENVIRONMENT / "bin" / "label-studio"
EMAIL, PASSWORD = "admin@example.com", "pass-word-1"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_S = 600.0  # of which a fresh database takes 40 s on an idle machine
needs_label_studio = pytest.mark.skipif(not PROGRAM.exists(), reason="needs a Label Studio: make .venv/label-studio/.stamp")

_DATABASE = "label_studio.sqlite3"
_BEHAVIOUR = PROJECT / "deploy" / "label-studio.env"  # what deploy/compose.yaml gives it too
_SETTINGS = {
    "SECRET_KEY": "tests-only",
    "LABEL_STUDIO_USERNAME": EMAIL,
    "LABEL_STUDIO_PASSWORD": PASSWORD,
    "LABEL_STUDIO_USER_TOKEN": TOKEN,
    **dict(line.split("=", 1) for line in _BEHAVIOUR.read_text("utf-8").splitlines() if not line.startswith("#")),
}


@dataclass
class LabelStudio:
    """A server on the data in `folder`, which may be empty; it can be stopped and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://{LOOPBACK}:{self.port}"

    def start(self):
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        places = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
        # Nothing of ours: it would read HOST, PORT, DEBUG and more.
        environment = {"PATH": "/usr/bin:/bin", "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder)} | places | _SETTINGS
        command = [PROGRAM, "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.is_up, START_S)

    def is_up(self):
        assert self.process.poll() is None, (self.folder / "log").read_text("utf-8")
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=PATIENCE_S) as response:
                return response.status == 200
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)


@contextmanager
def label_studio(folder):
    """Run a server until the block ends."""
    server = LabelStudio(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def migrated(folder):
    """Give a folder's worth of a database with all its tables and the user; made once for each installation, and kept in it."""
    version = next(ENVIRONMENT.glob("lib/*/site-packages/label_studio-*.dist-info")).name
    kept = ENVIRONMENT / f"{version}.sqlite3"
    if not kept.exists():
        with label_studio(folder / "first"):
            pass
        aside = kept.with_suffix(".partial")
        with closing(sqlite3.connect(folder / "first" / _DATABASE)) as source, closing(sqlite3.connect(aside)) as copy:
            source.backup(copy)
        aside.replace(kept)
    fresh = folder / "data"
    fresh.mkdir()
    shutil.copyfile(kept, fresh / _DATABASE)
    return fresh
