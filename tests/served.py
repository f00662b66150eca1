"""The service, or another of its commands, as a process of its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deadline import PATIENCE_S, until

PROJECT = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"


@dataclass
class Server:
    """A server process, where it listens and what it has written to standard error."""

    process: subprocess.Popen
    port: int
    log: Path

    def ask(self, method, path, body=None):
        with closing(http.client.HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def classify(self, text):
        return self.ask("POST", "/classify", json.dumps({"text": text}))

    def connect(self):
        return socket.create_connection((LOOPBACK, self.port), PATIENCE_S)

    def listens(self):
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def start(model, log, *, module="semantic_service", arguments=(), **settings):
    kept = {"database_url": f"sqlite:///{log.parent}/moderation.db", "spill_file": log.parent / "spill.jsonl"}
    variables = {f"MODERATION_{name.upper()}": str(value) for name, value in (kept | settings | {"model": model}).items()}
    with log.open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=PROJECT,
            env=os.environ | variables,  # noqa: TID251 - what the process is given
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


@contextmanager
def killed_in_the_end(process):
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def free_port():
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


@contextmanager
def serving(model, folder, **settings):
    """Serve a bundle until the block ends; the log goes into `folder`."""
    port, log = free_port(), folder / "log"
    with killed_in_the_end(start(model, log, port=port, **settings)) as process:
        started = Server(process, port, log)
        until(lambda: started.listens() or process.poll() is not None)
        assert process.poll() is None, log.read_text("utf-8")
        yield started
