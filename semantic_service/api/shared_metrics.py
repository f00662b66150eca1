"""Metrics of several worker processes: each keeps its own in a folder, and any of them answers for all."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client looks at it when it is imported


@contextmanager
def shared() -> Iterator[None]:
    """Let the processes that start in this block share their metrics, for as long as it lasts."""
    with TemporaryDirectory(prefix="moderation-metrics-") as folder:
        os.environ[_VARIABLE] = folder  # noqa: TID251 - for the worker processes
        yield


def is_shared() -> bool:
    """Whether this is one of several processes."""
    return _VARIABLE in os.environ  # noqa: TID251 - set above, for this process


def exposition() -> bytes:
    """Write the metrics of all processes as Prometheus reads them; what the dead ones counted stays, what they were in does not."""
    folder = Path(os.environ[_VARIABLE])  # noqa: TID251 - the same
    for gauges in folder.glob("gauge_live*.db"):
        pid = int(gauges.stem.rpartition("_")[2])
        if not _is_alive(pid):
            with contextlib.suppress(FileNotFoundError):  # another process has done it
                mark_process_dead(pid, str(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return generate_latest(registry)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
