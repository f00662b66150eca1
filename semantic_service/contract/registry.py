"""The model registry: a folder of bundles, the name of the one that serves, and every change of it."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from semantic_service.contract.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle, BundleError, sync, write_atomically

POINTER_FILE = "current"
HISTORY_FILE = "history.jsonl"
LOCK_FILE = ".lock"
_VERSION = re.compile(r"[\w][\w.+-]{0,199}", re.ASCII)  # a folder's name, never a path


class RegistryError(BundleError):
    """A registry that can't be used as asked; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history: `version` became the champion in the place of `previous`."""

    action: Literal["promote", "rollback"]
    version: str
    previous: str | None
    by: str
    at: str  # ISO 8601, UTC
    reason: str
    reports: Mapping[str, Any] = field(default_factory=dict)  # both models' numbers, as the gate saw them

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line.

        Raises:
            ValueError: it is none.

        """
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(str(error)) from error


class Registry:
    """A registry on disk. Serving reads `current` alone; only the trainer's commands write, one at a time.

    A change is written to the history first, and `current` follows: a kill between the two is made good by the next `locked()`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def pointer(self) -> str | None:
        """Give the champion's version, None while there is none.

        Raises:
            RegistryError: `current` can't be read, or names no version.

        """
        path = self.path / POINTER_FILE
        try:
            version = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryError(f"{path}: can't be read ({error})") from error
        if not _VERSION.fullmatch(version):
            raise RegistryError(f"{path}: holds {version[:80]!r}, wanted one line with a version's name")
        return version

    def champion(self) -> Bundle:
        """Read the champion's bundle.

        Raises:
            RegistryError: there is no champion yet.
            BundleError: it must not be served.

        """
        version = self.pointer()
        if version is None:
            raise RegistryError(f"{self.path}: no champion yet, promote a bundle first")
        return Bundle.read(self.folder(version))

    def folder(self, version: str) -> Path:
        """Give the folder of a version's bundle, there or not.

        Raises:
            RegistryError: no name of a version.

        """
        if not _VERSION.fullmatch(version):
            raise RegistryError(f"{version[:80]!r} can't name a version: letters, digits, dots, dashes")
        return self.path / version

    def versions(self) -> list[str]:
        """Name every bundle, oldest first, since versions start with their time."""
        return sorted(manifest.parent.name for manifest in self.path.glob(f"*/{MANIFEST_FILE}") if not manifest.parent.name.startswith("."))

    def history(self) -> list[Change]:
        """Read every change, oldest first. A last line that a kill cut short is not there yet.

        Raises:
            RegistryError: a line is not a change.

        """
        path = self.path / HISTORY_FILE
        changes = []
        for number, line in enumerate(_complete(path).splitlines(), start=1):
            try:
                changes.append(Change.from_json(line))
            except ValueError as error:
                raise RegistryError(f"{path}:{number}: not a change ({error})") from error
        return changes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, and first finish the change that a killed one began.

        Raises:
            RegistryError: another command is writing.

        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK_FILE).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RegistryError(f"{self.path}: another command is changing it, try again when it is done") from error
            for partial in self.path.glob(".*.partial"):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
            changes = self.history()
            if changes and self.pointer() in {None, changes[-1].previous}:
                self._point(changes[-1].version)
            yield

    def add(self, bundle: Bundle) -> Bundle:
        """Copy a bundle in under its version, with its signature; the same bundle twice is one. For use inside `locked()`.

        Raises:
            RegistryError: another bundle has this version, or it has another signature here.
            BundleError: what was copied is not what was read.

        """
        target = self.folder(bundle.manifest.model_version)
        if target.exists():
            if Bundle.read(target).manifest != bundle.manifest:
                raise RegistryError(f"{target} is another bundle of the same version: versions never change")
            self._add_signature(bundle, target)
            return Bundle.read(target)
        aside = self.path / f".{target.name}.partial"
        aside.mkdir()
        signature = [SIGNATURE_FILE] if bundle.file(SIGNATURE_FILE).exists() else []
        for name in (*bundle.names, MANIFEST_FILE, *signature):
            shutil.copyfile(bundle.file(name), aside / name)
            sync(aside / name)
        Bundle.read(aside)
        aside.rename(target)
        sync(self.path)
        return Bundle.read(target)

    def _add_signature(self, bundle: Bundle, target: Path) -> None:
        brought, present = bundle.file(SIGNATURE_FILE), target / SIGNATURE_FILE
        if not brought.exists():
            return
        if not present.exists():
            aside = self.path / f".{target.name}.{SIGNATURE_FILE}.partial"
            shutil.copyfile(brought, aside)
            sync(aside)
            aside.rename(present)
            sync(target)
        elif present.read_bytes() != brought.read_bytes():
            raise RegistryError(f"{present} differs from {brought}, and signatures are never replaced: remove the one that is not to count")

    def change(self, change: Change) -> None:
        """Make a version the champion. For use inside `locked()`.

        Raises:
            BundleError: that version's bundle is not there, or must not be served.

        """
        Bundle.read(self.folder(change.version))
        path = self.path / HISTORY_FILE
        complete = _complete(path).encode()
        with path.open("ab") as file:
            file.truncate(len(complete))  # what a kill cut short
            file.write((json.dumps(asdict(change), ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._point(change.version)

    def before(self, version: str) -> str | None:
        """Name the champion that `version` replaced when it was last promoted."""
        return next(
            (change.previous for change in reversed(self.history()) if (change.action, change.version) == ("promote", version)), None
        )

    def _point(self, version: str) -> None:
        write_atomically(self.path / POINTER_FILE, version + "\n")


def _complete(path: Path) -> str:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RegistryError(f"{path}: can't be read ({error})") from error
    try:
        return text[: text.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError as error:
        raise RegistryError(f"{path}: not UTF-8") from error
