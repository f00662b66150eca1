"""Servers as processes: started, asked until they answer, weighed and stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

PROJECT = Path(__file__).parents[2]
START_S = 180.0  # Ray takes long
STOP_S = 20.0
OURS = "this service"
_MARK = "BENCH_SERVER"  # in the environment of a server and of whatever it starts


class ServerError(Exception):
    """A server that did not start, or answered wrongly; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Service:
    """How to start a server and how to ask it. `{port}` stands for the port in the command and the environment."""

    name: str
    command: tuple[str, ...]
    path: str
    body: Callable[[str], object]  # a text to what is posted
    label: Callable[[object], str]  # an answer to its label
    environment: Mapping[str, str] = field(default_factory=dict)

    def encode(self, texts: list[str]) -> list[str]:
        """Write each text's body."""
        return [json.dumps(self.body(text)) for text in texts]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a server with all its processes, in MB (10^6 bytes): proportional share, what is its own alone, peak of what was resident."""

    pss_mb: float
    uss_mb: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and how long it took to its first verdict."""

    service: Service
    port: int
    start_s: float
    mark: str

    def ask(self, text: str) -> str:
        """Post one text; give its label."""
        return self.service.label(_post(self.port, self.service, text))

    def memory(self) -> Memory:
        """Weigh it."""
        numbers = [_memory(process) for process in _processes(self.mark)]
        return Memory(*(sum(column) for column in zip(*numbers, strict=True)))


def ours(model: Path, folder: Path, **settings: object) -> Service:
    """Serve a bundle as `make run` does, with a review store in `folder`."""
    kept = {"model": model, "database_url": f"sqlite:///{folder}/moderation.db", "spill_file": folder / "spill.jsonl", "port": "{port}"}
    return Service(
        OURS,
        (sys.executable, "-m", "semantic_service"),
        "/classify",
        lambda text: {"text": text},
        lambda answer: str(answer["label"]),  # type: ignore[index]
        {f"MODERATION_{name.upper()}": str(value) for name, value in (kept | settings).items()},
    )


@contextmanager
def running(service: Service, text: str) -> Iterator[Server]:
    """Run a server on a free port until the block ends; it has answered `text` when the block begins.

    Raises:
        ServerError: it did not answer in time.

    """
    port, mark = _free_port(), uuid.uuid4().hex
    environment = os.environ | dict(service.environment) | {_MARK: mark}  # noqa: TID251 - the child's
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [part.format(port=port) for part in service.command],
            cwd=PROJECT,
            env={name: value.replace("{port}", str(port)) for name, value in environment.items()},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_for_verdict(process, port, service, text, log.fileno())
            yield Server(service, port, time.perf_counter() - started, mark)
        finally:
            _stop(process, mark)


def _wait_for_verdict(process: subprocess.Popen[bytes], port: int, service: Service, text: str, log: int) -> None:
    end, problem = time.monotonic() + START_S, "no answer"
    while time.monotonic() < end and process.poll() is None:
        try:
            service.label(_post(port, service, text))
        except (OSError, ValueError, LookupError, TypeError) as error:
            problem = repr(error)
            time.sleep(0.01)
        else:
            return
    tail = os.pread(log, 2000, max(0, os.fstat(log).st_size - 2000)).decode(errors="replace")
    raise ServerError(f"{service.name} did not start ({problem}): {tail}")


def _post(port: int, service: Service, text: str) -> object:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{service.path}", json.dumps(service.body(text)).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=START_S) as response:
        answer: object = json.load(response)
        return answer


def _stop(process: subprocess.Popen[bytes], mark: str) -> None:
    """End a server, politely first, and with it every process that it has started."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    while left := _processes(mark):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    process.wait()


def _processes(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is somebody else's
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def _memory(pid: int) -> tuple[float, float, float]:
    kilobytes: dict[str, int] = {}
    with suppress(OSError):  # it has just ended
        for line in (Path(f"/proc/{pid}/smaps_rollup").read_text() + Path(f"/proc/{pid}/status").read_text()).splitlines():
            name, _, value = line.partition(":")
            if value.endswith(" kB"):
                kilobytes[name] = int(value.split()[0])
    own = kilobytes.get("Private_Clean", 0) + kilobytes.get("Private_Dirty", 0)
    return tuple(kilobyte * 1024 / 1e6 for kilobyte in (kilobytes.get("Pss", 0), own, kilobytes.get("VmHWM", 0)))  # type: ignore[return-value]


def _free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
