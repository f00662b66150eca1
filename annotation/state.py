"""What has to outlive a kill: the tasks that were on their way, and how far pulling got."""

import fcntl
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotation.errors import LockedError
from semantic_service.contract.bundle import write_atomically


@dataclass(frozen=True, slots=True)
class Pulled:
    """How far the answers of a project were fetched, by its server's clock, and when that was, by ours. ISO 8601 in UTC."""

    until: str
    at: str


@dataclass(frozen=True, slots=True)
class State:
    """A folder with a file for each."""

    folder: Path

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send alone.

        Raises:
            LockedError: another process is sending.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel gives it back when the process ends, however it ends
            except BlockingIOError as error:
                raise LockedError(f"another push or sync is sending (it holds {lock.name}): wait until it is done") from error
            yield

    def note_under_way(self, project: int, ext_ids: Iterable[str]) -> None:
        """Remember the tasks that a request is about to bring."""
        self._write("under_way.json", {"project": project, "ext_ids": list(ext_ids), "since": time.time()})

    def arrived(self) -> None:
        """Forget them."""
        (self.folder / "under_way.json").unlink(missing_ok=True)

    def under_way(self, project: int) -> tuple[set[str], float] | None:
        """Give the tasks whose request was never answered, and how many seconds ago it was made."""
        noted = self._read("under_way.json")
        return (set(noted["ext_ids"]), time.time() - noted["since"]) if noted is not None and noted["project"] == project else None

    def note_pulled(self, project: int, until: str) -> None:
        """Remember how far pulling got."""
        self._write("pulled.json", {"project": project, "until": until, "at": datetime.now(UTC).isoformat(timespec="seconds")})

    def pulled(self, project: int) -> Pulled | None:
        """Say how far pulling got in this project; None: never."""
        noted = self._read("pulled.json")
        return Pulled(noted["until"], noted["at"]) if noted is not None and noted["project"] == project else None

    def _write(self, name: str, values: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / name, json.dumps(values))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
        except FileNotFoundError:
            return None
