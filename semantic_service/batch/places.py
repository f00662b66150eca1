"""Where a batch reads and writes: files here, or objects behind a URL such as s3://bucket/posts/*.jsonl, by way of fsspec."""

import glob
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from semantic_service.batch.errors import BatchError
from semantic_service.contract.bundle import sync

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem

SPOOL = Path("var/batch")  # what waits here until it goes to a URL
_READ_BYTES = 1024 * 1024
_NO_FILE = "no file is called like that"
_UNSEEN = f"{_NO_FILE}, or these credentials don't show it"  # some libraries tell no difference


@dataclass(frozen=True, slots=True)
class Shard:
    """One input, and where its output goes once it is complete; one of many keeps its checkpoint, which says that it is done."""

    input: str
    output: str
    is_of_many: bool = False

    @property
    def partial(self) -> Path:
        """The output so far."""
        return self._beside(".partial")

    @property
    def checkpoint(self) -> Path:
        """How far it has come."""
        return self._beside(".checkpoint")

    @property
    def record(self) -> str:
        """Where the checkpoint of a complete output stays: beside it."""
        return self.output + ".checkpoint"

    def _beside(self, suffix: str) -> Path:
        if not is_remote(self.output):
            return Path(self.output + suffix)
        folder, name = self.output.rsplit("/", 1)
        return SPOOL / hashlib.sha256(folder.encode()).hexdigest()[:12] / (name + suffix)


def is_remote(name: str) -> bool:
    """Whether a name is a URL."""
    return "://" in name


def shards(inputs: Sequence[str], output: str) -> list[Shard]:
    """Say what becomes of each input, patterns filled in: `output` itself, or a file in the folder `output`.

    It is a folder if it ends in / or is there as one, or if there are several inputs or a pattern. In it files keep their names, and
    those of their folders from where they differ.

    Raises:
        BatchError: a pattern fits no file, or an output is an input.

    """
    found = list({_identity(name): name for pattern in inputs for name in _matches(pattern)}.values())
    into_folder = output.endswith("/") or Path(output).is_dir() or len(found) > 1 or found != list(inputs)
    if not into_folder:
        planned = [Shard(found[0], output)]
    else:
        planned = [
            Shard(name, f"{output.rstrip('/')}/{inside}", is_of_many=True) for name, inside in zip(found, _inside(found), strict=True)
        ]
    taken = {_identity(shard.input) for shard in planned}
    for shard in planned:
        if _identity(shard.output) in taken:
            raise BatchError(f"{shard.output}: the output must be another file than the input")
    return planned


def _matches(pattern: str) -> list[str]:
    if is_remote(pattern):
        with _store(pattern) as (system, path):
            names = [_like(pattern, system.unstrip_protocol(name)) for name in system.glob(path)] if glob.has_magic(path) else [pattern]
    else:
        names = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) and not Path(pattern).exists() else [pattern]  # noqa: PTH207
    if not names:
        raise BatchError(f"{pattern}: {_UNSEEN if is_remote(pattern) else _NO_FILE}")
    return names


def _like(pattern: str, url: str) -> str:
    """Write a URL as the pattern is written: some stores call objects /bucket/name, and find none by scheme:///bucket/name."""
    return url if ":///" in pattern else url.replace(":///", "://", 1)


def _inside(names: Sequence[str]) -> list[str]:
    """Name files as seen from the innermost folder that holds them all."""
    paths = [PurePosixPath(name if is_remote(name) else Path(name).resolve()) for name in names]
    folders = [path.parent.parts for path in paths]
    common = next((depth for depth, parts in enumerate(zip(*folders, strict=False)) if len(set(parts)) > 1), min(map(len, folders)))
    return [str(PurePosixPath(*path.parts[common:])) for path in paths]


def _identity(name: str) -> str:
    return name if is_remote(name) else str(Path(name).resolve())


def open_input(name: str) -> BinaryIO:
    """Open an input for reading and seeking.

    Raises:
        BatchError: its store can't give it; what is read raises this too.

    """
    if not is_remote(name):
        return Path(name).open("rb")
    with _store(name) as (system, path):
        return io.BufferedReader(_Object(name, system.open(path, "rb")), _READ_BYTES)


def size(name: str) -> int:
    """Give a file's bytes; 0 if there is none."""
    if is_remote(name):
        with _store(name) as (system, path):
            return int(system.size(path)) if system.exists(path) else 0
    return Path(name).stat().st_size if Path(name).exists() else 0


def exists(name: str) -> bool:
    """Whether a file is there."""
    if is_remote(name):
        with _store(name) as (system, path):
            return bool(system.exists(path))
    return Path(name).exists()


def put(local: Path, name: str) -> None:
    """Put a complete file in its place, at once.

    Raises:
        BatchError: its store does not take it; the file stays where it is.

    """
    if is_remote(name):
        with _store(name) as (system, path):
            system.put_file(str(local), path)  # an object store shows an object once it is whole
        local.unlink()
    else:
        sync(local)
        local.replace(name)


@contextmanager
def _store(url: str) -> "Iterator[tuple[AbstractFileSystem, str]]":
    """Give what serves a URL, and the path there; what goes wrong meanwhile is told with the URL."""
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BatchError(f"{url}: URLs need fsspec ({error}): python -m pip install -r requirements/batch.txt") from error
    with _named(url):
        yield url_to_fs(url)


@contextmanager
def _named(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BatchError(f"{url}: {_UNSEEN}") from error
    except Exception as error:  # each store's library raises its own, unrelated classes
        raise BatchError(f"{url}: {error}") from error


class _Object(io.RawIOBase):
    """An object of a store."""

    def __init__(self, url: str, stream: BinaryIO) -> None:
        self._url = url
        self._stream = stream

    def readinto(self, buffer: "WriteableBuffer") -> int:
        with _named(self._url):
            read: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
            return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()
